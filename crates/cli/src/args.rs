//! The settings of `lifeline`: its own rows, and under them those of the producer and the consumer that it runs.

use std::net::SocketAddr;
use std::path::PathBuf;

use lifeline_messaging::client::Access;
use lifeline_service::log::{self, Log};
use lifeline_service::settings::{Problems, Program, Reader, Setting, Values, address, text};

const OWN: &[Setting] = &[
    Setting {
        name: "LISTEN",
        default: Some("127.0.0.1:4566"),
        help: "up, aws: where the embedded SNS and SQS listens",
    },
    Setting {
        name: "PRODUCER_HEALTH_ADDR",
        default: Some("127.0.0.1:5000"),
        help: "up: the producer's /health",
    },
    Setting {
        name: "CONSUMER_HEALTH_ADDR",
        default: Some("127.0.0.1:5001"),
        help: "up: the consumer's /health",
    },
    Setting {
        name: "OUTPUT",
        default: None,
        help: "up: each body is appended to this file as a line, to compare with INPUT",
    },
    // a drain waits for the receive in the air, and on this machine an empty one costs nothing
    Setting { name: "WAIT_TIME", default: Some("1s"), help: "long poll, 0 to 20 s, whole seconds" },
];

/// `lifeline`.
pub const PROGRAM: Program = Program {
    name: "lifeline",
    about: "Runs SNS, SQS, a producer and a consumer on this machine. Without a subcommand: up.",
    subcommands: &[
        ("up", "the whole pipeline; ends by itself when its input does and everything is handled"),
        ("aws", "the embedded SNS and SQS alone, for producers and consumers of their own"),
        (
            "doctor",
            "looks at a topic, a queue and what connects them, here or on AWS, and says what is wrong",
        ),
    ],
    settings: &[OWN, log::SETTINGS],
    embeds: &[&lifeline_producer::settings::PROGRAM, &lifeline_consumer::settings::PROGRAM],
    decides: &["HEALTH_ADDR", "THREADS"],
};

/// What all subcommands need.
#[derive(Debug, Clone)]
pub struct Common {
    /// `LOG_FORMAT` and `RUST_LOG`.
    pub log: Log,
    /// `LISTEN`.
    pub listen: SocketAddr,
}

impl Common {
    /// Reads it.
    ///
    /// # Errors
    /// Every bad setting, a line each.
    pub fn read(values: &Values) -> Result<Self, Problems> {
        let mut reader = Reader::new(values);
        let common = Self { log: Log::read(&mut reader), listen: reader.read("LISTEN", address()) };
        reader.finish()?;
        Ok(common)
    }
}

/// What `up` needs.
#[derive(Debug, Clone)]
pub struct Up {
    /// `LISTEN`.
    pub listen: SocketAddr,
    /// The producer's, with what `up` decides.
    pub producer: lifeline_producer::Settings,
    /// The consumer's, with what `up` decides.
    pub consumer: lifeline_consumer::settings::Settings,
}

impl Up {
    /// Reads both services' settings, with the embedded endpoint for AWS whatever the environment says: `up` never
    /// leaves this machine.
    ///
    /// # Errors
    /// Every bad setting, a line each.
    pub fn read(values: &Values) -> Result<Self, Problems> {
        let mut reader = Reader::new(values);
        let listen = reader.read("LISTEN", address());
        let producer_health = reader.read("PRODUCER_HEALTH_ADDR", address());
        let consumer_health = reader.read("CONSUMER_HEALTH_ADDR", address());
        let output = reader.optional("OUTPUT", text()).map(PathBuf::from);
        let mut values = values.clone();
        for (name, value) in
            [("PROVISION", "true"), ("AWS_REGION", "us-east-1"), ("AWS_ENDPOINT_URL", "http://127.0.0.1")]
        {
            values.decide(name, value);
        }
        // read before `finish`, so that what is wrong with either is said too
        values.defaults_of(&lifeline_producer::settings::PROGRAM);
        let mut producer = reader.nested(lifeline_producer::Settings::read(&values));
        values.defaults_of(&lifeline_consumer::settings::PROGRAM);
        values.set_default("WAIT_TIME", "1s");
        let mut consumer = reader.nested(lifeline_consumer::settings::Settings::read(&values));
        reader.finish()?;
        if let (Some(producer), Some(consumer)) = (&mut producer, &mut consumer) {
            producer.health = producer_health;
            consumer.health_addr = consumer_health;
            if let Some(path) = output {
                consumer.handler = lifeline_consumer::settings::HandlerKind::File(path);
            }
        }
        Ok(Self { listen, producer: producer.expect("read"), consumer: consumer.expect("read") })
    }

    /// Points both services at the endpoint.
    pub fn reach(&mut self, endpoint: &str) {
        let timeout = self.producer.access.call_timeout;
        let access = Access { call_timeout: timeout, ..Access::local(endpoint) };
        self.producer.access = access.clone();
        self.consumer.access = access;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(arguments: &[&str], environment: &[(&str, &str)]) -> Values {
        let arguments = std::iter::once("lifeline").chain(arguments.iter().copied());
        let find = |name: &str| environment.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        PROGRAM.parse(arguments, find).unwrap().values
    }

    #[test]
    fn up_never_leaves_this_machine_whatever_the_environment_says() {
        let environment = [
            ("AWS_ENDPOINT_URL", "https://sqs.eu-west-1.amazonaws.com"),
            ("AWS_REGION", "eu-west-1"),
            ("PROVISION", "false"),
            ("HEALTH_ADDR", "0.0.0.0:80"),
        ];
        let mut up = Up::read(&values(&["up"], &environment)).unwrap();
        up.reach("http://127.0.0.1:4566");
        for access in [&up.producer.access, &up.consumer.access] {
            assert_eq!(access.endpoint.as_deref(), Some("http://127.0.0.1:4566"));
            assert!(access.credentials.is_some());
        }
        assert!(up.producer.provision && up.consumer.queue.provision);
        assert_eq!(up.producer.health.to_string(), "127.0.0.1:5000");
        assert_eq!(up.consumer.health_addr.to_string(), "127.0.0.1:5001");
    }

    #[test]
    fn flags_reach_both_services() {
        let up = Up::read(&values(&["--max-in-flight", "7", "--publish-rate", "0", "--output", "o"], &[]))
            .unwrap();
        assert_eq!(up.consumer.max_in_flight, 7);
        assert_eq!(up.producer.rate, 0.0);
        assert_eq!(up.consumer.handler, lifeline_consumer::settings::HandlerKind::File("o".into()));
    }

    #[test]
    fn what_is_wrong_with_either_service_is_said_at_once() {
        let said = Up::read(&values(&["--pollers", "0", "--publish-rate", "fast", "--listen", "x"], &[]))
            .unwrap_err();
        let said = said.to_string();
        for name in ["POLLERS=0", "PUBLISH_RATE=fast", "LISTEN=x"] {
            assert_eq!(said.lines().filter(|line| line.starts_with(name)).count(), 1, "{name} in:\n{said}");
        }
    }
}
