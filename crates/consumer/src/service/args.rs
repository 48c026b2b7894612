//! The consumer's settings: its table, and the typed values.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use lifeline_messaging::client::{self, Access};
use lifeline_messaging::span::{self, Export};
use lifeline_messaging::topology::{self, QueueSpec};
use lifeline_service::log::{self, Log};
use lifeline_service::runtime::{self, Threads};
use lifeline_service::settings::{
    Accept, Problems, Program, Reader, Setting, Values, address, choice, count, duration, text, url,
};

/// The rows that only a consumer has.
const OWN: &[Setting] = &[
    Setting {
        name: "HEALTH_ADDR",
        default: Some("0.0.0.0:5000"),
        help: "where /health, /ready and /metrics are served",
    },
    Setting {
        name: "SHUTDOWN_GRACE",
        default: Some("25s"),
        help: "from the first SIGTERM or SIGINT to exit",
    },
    Setting {
        name: "POLLERS",
        default: Some("4"),
        help: "most receives in the air at once; one when the queue is idle",
    },
    Setting { name: "MAX_IN_FLIGHT", default: Some("64"), help: "messages held at most, over all pollers" },
    Setting { name: "WAIT_TIME", default: Some("20s"), help: "long poll, 0 to 20 s, whole seconds" },
    Setting {
        name: "HANDLER",
        default: Some("log"),
        help: "log; file (HANDLER_FILE); or http (HANDLER_URL)",
    },
    Setting {
        name: "HANDLER_FILE",
        default: None,
        help: "HANDLER=file: each body is appended to it as a line",
    },
    Setting {
        name: "HANDLER_URL",
        default: None,
        help: "HANDLER=http: each message is posted to it; 2xx is success",
    },
    Setting {
        name: "HANDLER_TIMEOUT",
        default: Some("5m"),
        help: "then the handler is cancelled and its message goes back",
    },
    Setting {
        name: "DRILL_HANG",
        default: None,
        help: "for drills only: a message with this body blocks every thread for ever",
    },
];

/// `consumer`: flags, variables and help.
pub const PROGRAM: Program = Program {
    name: "consumer",
    about: "Receives messages from an SQS queue, handles and deletes them.",
    subcommands: &[(
        "health",
        "asks the running service for its health: prints the answer, exit code 0 or 1",
    )],
    settings: &[
        client::SETTINGS,
        runtime::SETTINGS,
        topology::SETTINGS,
        topology::QUEUE_SETTINGS,
        OWN,
        log::SETTINGS,
        span::SETTINGS,
    ],
    embeds: &[],
    decides: &[],
};

/// What handles the messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandlerKind {
    /// The log line is all.
    Log,
    /// Each body as a line of this file.
    File(PathBuf),
    /// Each message posted to this address.
    Http(String),
}

/// The settings, checked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How AWS is reached.
    pub access: Access,
    /// Queue and topic.
    pub queue: QueueSpec,
    /// `HEALTH_ADDR`.
    pub health_addr: SocketAddr,
    /// `ACCESS_LOG` and `LOG_FORMAT`, for the health server.
    pub access_log: lifeline_health::AccessLog,
    /// `SHUTDOWN_GRACE`.
    pub grace: Duration,
    /// `POLLERS`.
    pub pollers: usize,
    /// `MAX_IN_FLIGHT`.
    pub max_in_flight: usize,
    /// `THREADS`, for who builds the runtime.
    pub threads: Threads,
    /// `WAIT_TIME`.
    pub wait_time: Duration,
    /// `HANDLER` and what belongs to it.
    pub handler: HandlerKind,
    /// `HANDLER_TIMEOUT`.
    pub handler_timeout: Duration,
    /// `DRILL_HANG`.
    pub drill_hang: Option<String>,
    /// `LOG_FORMAT` and `RUST_LOG`.
    pub log: Log,
    /// Where spans go.
    pub export: Export,
}

impl Settings {
    /// Reads and checks them all.
    ///
    /// # Errors
    /// Every bad setting, a line each.
    pub fn read(values: &Values) -> Result<Self, Problems> {
        let mut reader = Reader::new(values);
        let log = Log::read(&mut reader);
        let settings = Self {
            access: Access::read(&mut reader),
            queue: QueueSpec::read(&mut reader, values),
            health_addr: reader.read("HEALTH_ADDR", address()),
            access_log: log.access_log(&mut reader),
            grace: reader
                .read("SHUTDOWN_GRACE", duration(Duration::from_secs(1)..=Duration::from_secs(3600))),
            pollers: reader.read("POLLERS", count(1..=256)),
            max_in_flight: reader.read("MAX_IN_FLIGHT", count(1..=100_000)),
            threads: Threads::read(&mut reader),
            wait_time: reader.read("WAIT_TIME", wait_time()),
            handler: handler(&mut reader),
            handler_timeout: reader
                .read("HANDLER_TIMEOUT", duration(Duration::from_millis(1)..=Duration::from_secs(12 * 3600))),
            drill_hang: reader.optional("DRILL_HANG", text()),
            log,
            export: Export::read(&mut reader),
        };
        reader.finish()?;
        Ok(settings)
    }
}

/// SQS counts the wait in whole seconds: <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html>.
fn wait_time() -> Accept<Duration> {
    Accept::new("whole seconds from 0s to 20s", |text| {
        let wait = lifeline_service::settings::parse_duration(text)?;
        (wait <= Duration::from_secs(20) && wait.subsec_nanos() == 0).then_some(wait)
    })
}

fn handler(reader: &mut Reader<'_>) -> HandlerKind {
    #[derive(Clone)]
    enum Word {
        Log,
        File,
        Http,
    }
    let file = reader.optional("HANDLER_FILE", text());
    let address = reader.optional("HANDLER_URL", url());
    match reader.read("HANDLER", choice(&[("log", Word::Log), ("file", Word::File), ("http", Word::Http)])) {
        Word::Log => HandlerKind::Log,
        Word::File => match file {
            Some(path) => HandlerKind::File(path.into()),
            None => missing(reader, "HANDLER_FILE is not set; set it to the file to append to"),
        },
        Word::Http => match address {
            Some(url) => HandlerKind::Http(url),
            None => missing(reader, "HANDLER_URL is not set; set it to the address to post to"),
        },
    }
}

fn missing(reader: &mut Reader<'_>, says: &str) -> HandlerKind {
    reader.object("HANDLER", says);
    HandlerKind::Log
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(environment: &[(&str, &str)]) -> Result<Settings, Problems> {
        let find = |name: &str| environment.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        Settings::read(&PROGRAM.parse(["consumer"], find).unwrap().values)
    }

    #[test]
    fn the_defaults_are_the_contracts() {
        let settings = read(&[]).unwrap();
        assert_eq!(settings.health_addr, "0.0.0.0:5000".parse().unwrap());
        assert_eq!((settings.pollers, settings.max_in_flight), (4, 64));
        assert_eq!((settings.wait_time, settings.grace), (Duration::from_secs(20), Duration::from_secs(25)));
        assert_eq!(settings.handler_timeout, Duration::from_secs(300));
        assert_eq!(settings.handler, HandlerKind::Log);
        assert!(!settings.queue.provision && !settings.queue.raw_delivery);
        assert_eq!((settings.queue.queue.name(), settings.queue.topic.name()), ("events-consumer", "events"));
        assert_eq!(settings.queue.max_receives, 5);
        assert!(read(&[("AWS_ENDPOINT_URL", "http://localhost:4566")]).unwrap().queue.provision);
    }

    #[test]
    fn every_bad_setting_has_its_line() {
        let bad = [
            ("HEALTH_ADDR", "5000"),
            ("POLLERS", "0"),
            ("THREADS", "0"),
            ("WAIT_TIME", "1500ms"),
            ("HANDLER", "http"),
            ("QUEUE_NAME", "no spaces"),
            ("RUST_LOG", "a=b=c"),
            ("AWS_ENDPOINT_URL", "localhost:4566"),
        ];
        let said = read(&bad).unwrap_err().to_string();
        let names: Vec<_> = said.lines().map(|line| line.split('=').next().unwrap()).collect();
        for (name, _) in bad {
            assert!(names.contains(&name), "{name} has no line in:\n{said}");
        }
        assert_eq!(names.len(), bad.len(), "{said}");
    }
}
