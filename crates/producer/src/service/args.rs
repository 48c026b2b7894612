//! The producer's settings: the contract's table, read and checked before anything is opened.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use lifeline_health::AccessLog;
use lifeline_messaging::client;
use lifeline_messaging::client::Access;
use lifeline_messaging::span::{self, Export};
use lifeline_messaging::topology::{self, TopicRef};
use lifeline_service::log;
use lifeline_service::log::Log;
use lifeline_service::runtime::{self, Threads};
use lifeline_service::settings::{
    self as accept, Accept, Problems, Program, Reader, Setting, Values, count, duration, integer, number,
};

use crate::service::input::Input;
use crate::service::message_group::Group;

/// The producer's own rows.
const OWN: &[Setting] = &[
    Setting {
        name: "INPUT",
        default: Some("generate"),
        help: "generate, - for standard input, or a file or FIFO: one message a line, as is; blank lines are no messages",
    },
    Setting { name: "FROM", default: Some("1"), help: "first line of INPUT to publish, or first event" },
    Setting {
        name: "SEED",
        default: None,
        help: "of generated events: the same seed gives the same bytes; a random one, logged, where it is not set",
    },
    Setting {
        name: "PUBLISH_RATE",
        default: Some("1"),
        help: "messages a second; 0 is as fast as the topic takes them",
    },
    Setting { name: "PUBLISH_COUNT", default: None, help: "stop after that many messages" },
    Setting {
        name: "LINGER",
        default: Some("5ms"),
        help: "how long a message may wait for its batch to fill",
    },
    Setting {
        name: "BUFFER",
        default: Some("1000"),
        help: "messages held at most; input is not read past it",
    },
    Setting {
        name: "IN_AIR",
        default: Some("16"),
        help: "batches of ten in the air at most, 1 to 256: more where AWS is far away and the quota is large",
    },
    Setting {
        name: "MESSAGE_GROUP",
        default: None,
        help: "FIFO: a JSON pointer into each message, like /customer/id, or a constant",
    },
    Setting {
        name: "HEALTH_ADDR",
        default: Some("0.0.0.0:5000"),
        help: "where /health, /ready and /metrics are answered",
    },
    Setting {
        name: "SHUTDOWN_GRACE",
        default: Some("25s"),
        help: "from the first SIGTERM or SIGINT to exit",
    },
];

/// The program `producer`.
pub const PROGRAM: Program = Program {
    name: "producer",
    about: "Publishes generated events, or the lines of a file, a FIFO or standard input, to an SNS topic.",
    subcommands: &[("health", "asks the running producer at HEALTH_ADDR; exit code 0 if it is up")],
    settings: &[OWN, topology::SETTINGS, client::SETTINGS, runtime::SETTINGS, log::SETTINGS, span::SETTINGS],
    embeds: &[],
    decides: &[],
};

/// All settings of a producer.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How AWS is reached.
    pub access: Access,
    /// `TOPIC_NAME` or `TOPIC_ARN`.
    pub topic: TopicRef,
    /// `PROVISION`.
    pub provision: bool,
    /// `INPUT`.
    pub input: Input,
    /// `FROM`: 1 or more.
    pub from: u64,
    /// `SEED`.
    pub seed: Option<u64>,
    /// `PUBLISH_RATE`, messages a second; 0 is no limit.
    pub rate: f64,
    /// `PUBLISH_COUNT`: messages handed to the publisher.
    pub count: Option<u64>,
    /// `LINGER`.
    pub linger: Duration,
    /// `BUFFER`: 1 or more.
    pub buffer: usize,
    /// `IN_AIR`: 1 or more.
    pub in_air: usize,
    /// `THREADS`, for who builds the runtime.
    pub threads: Threads,
    /// `MESSAGE_GROUP`.
    pub group: Option<Group>,
    /// `HEALTH_ADDR`.
    pub health: SocketAddr,
    /// `ACCESS_LOG`, in the form of `LOG_FORMAT`.
    pub access_log: AccessLog,
    /// `SHUTDOWN_GRACE`.
    pub grace: Duration,
    /// `LOG_FORMAT` and `RUST_LOG`.
    pub log: Log,
    /// Where spans go.
    pub export: Export,
}

impl Settings {
    /// Reads them all.
    ///
    /// # Errors
    /// Every bad setting, a line each.
    pub fn read(values: &Values) -> Result<Self, Problems> {
        let mut reader = Reader::new(values);
        let log = Log::read(&mut reader);
        let settings = Self {
            access: Access::read(&mut reader),
            topic: TopicRef::read(&mut reader, values),
            provision: topology::read_provision(&mut reader, values),
            input: reader.read("INPUT", input()),
            from: reader.read("FROM", integer(1..=u64::MAX)),
            seed: reader.optional("SEED", integer(0..=u64::MAX)),
            rate: reader.read("PUBLISH_RATE", number(0.0..=1e6)),
            count: reader.optional("PUBLISH_COUNT", integer(1..=u64::MAX)),
            linger: reader.read("LINGER", duration(Duration::ZERO..=Duration::from_secs(10))),
            buffer: reader.read("BUFFER", count(1..=1_000_000)),
            in_air: reader.read("IN_AIR", count(1..=256)),
            threads: Threads::read(&mut reader),
            group: reader.optional("MESSAGE_GROUP", group()),
            health: read_health(&mut reader),
            access_log: log.access_log(&mut reader),
            grace: reader
                .read("SHUTDOWN_GRACE", duration(Duration::from_millis(100)..=Duration::from_secs(3600))),
            log,
            export: Export::read(&mut reader),
        };
        if settings.topic.is_fifo() && settings.group.is_none() && !values.is_given("MESSAGE_GROUP") {
            let topic = settings.topic.name();
            reader.object("MESSAGE_GROUP", format!("the FIFO topic {topic} needs it; set a JSON pointer into each message, like /customer/id, or a constant"));
        }
        reader.finish()?;
        Ok(settings)
    }

    /// Where a running producer is asked for its health: all that `producer health` needs.
    ///
    /// # Errors
    /// A bad `HEALTH_ADDR`.
    pub fn health_address(values: &Values) -> Result<SocketAddr, Problems> {
        let mut reader = Reader::new(values);
        let address = read_health(&mut reader);
        reader.finish()?;
        Ok(address)
    }
}

fn read_health(reader: &mut Reader<'_>) -> SocketAddr {
    reader.read("HEALTH_ADDR", accept::address())
}

fn input() -> Accept<Input> {
    Accept::new("generate, - for standard input, or a file or FIFO that can be read", |text| match text {
        "generate" => Some(Input::Generate),
        "-" => Some(Input::Stdin),
        path => {
            let about = Path::new(path).metadata().ok()?;
            // a FIFO is not opened yet: that waits for a writer
            let readable = !about.is_dir() && (!about.is_file() || std::fs::File::open(path).is_ok());
            readable.then(|| Input::File(path.into()))
        }
    })
}

fn group() -> Accept<Group> {
    Accept::new(
        "a JSON pointer that begins with /, or a constant of 1 to 128 letters, digits and punctuation of ASCII",
        Group::parse,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Settings, Problems> {
        let arguments = std::iter::once("producer").chain(arguments.iter().copied());
        Settings::read(&PROGRAM.parse(arguments, |_| None).unwrap().values)
    }

    #[test]
    fn every_default_is_accepted_and_is_the_contracts() {
        let settings = parse(&[]).unwrap();
        assert_eq!(settings.topic, TopicRef::Name("events".to_owned()));
        assert_eq!((settings.input, settings.from, settings.count), (Input::Generate, 1, None));
        assert!(settings.rate.total_cmp(&1.0).is_eq());
        assert_eq!((settings.linger, settings.buffer), (Duration::from_millis(5), 1000));
        assert_eq!(settings.in_air, 16);
        assert_eq!(settings.health, "0.0.0.0:5000".parse().unwrap());
        assert_eq!(settings.grace, Duration::from_secs(25));
        assert!(!settings.provision && !settings.access_log.silence_healthy && settings.group.is_none());
    }

    #[test]
    fn every_bad_setting_is_a_line_of_its_own() {
        let said = parse(&[
            "--input=/no/such/file",
            "--from=0",
            "--publish-rate=-1",
            "--publish-count=x",
            "--linger=1h",
            "--buffer=0",
            "--in-air=0",
            "--threads=257",
            "--message-group=",
            "--health-addr=5000",
            "--seed=-1",
            "--topic-name=a b",
        ])
        .unwrap_err()
        .to_string();
        for name in [
            "INPUT",
            "FROM",
            "PUBLISH_RATE",
            "PUBLISH_COUNT",
            "LINGER",
            "BUFFER",
            "IN_AIR",
            "THREADS",
            "MESSAGE_GROUP",
            "HEALTH_ADDR",
            "SEED",
            "TOPIC_NAME",
        ] {
            let about: Vec<_> = said.lines().filter(|line| line.starts_with(&format!("{name}="))).collect();
            assert_eq!(about.len(), 1, "{name} in {said}");
        }
        assert_eq!(said.lines().count(), 12, "{said}");
    }

    #[test]
    fn a_fifo_topic_needs_a_group() {
        let said = parse(&["--topic-name=orders.fifo"]).unwrap_err().to_string();
        assert!(said.starts_with("MESSAGE_GROUP: the FIFO topic orders.fifo needs it"), "{said}");
        assert!(parse(&["--topic-name=orders.fifo", "--message-group=/customer/id"]).is_ok());
    }

    #[test]
    fn a_directory_is_no_input() {
        assert!(parse(&["--input=/"]).unwrap_err().to_string().starts_with("INPUT=/ "));
        assert_eq!(parse(&["--input=-"]).unwrap().input, Input::Stdin);
    }

    #[test]
    fn asking_for_health_reads_nothing_else() {
        let asked =
            PROGRAM.parse(["producer", "health", "--input=/no", "--health-addr=[::1]:1"], |_| None).unwrap();
        assert_eq!(asked.subcommand, Some("health"));
        assert_eq!(Settings::health_address(&asked.values).unwrap(), "[::1]:1".parse().unwrap());
    }
}
