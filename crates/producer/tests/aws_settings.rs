//! The binary with AWS's own variables and files: endpoints, regions, keys, and credentials from profiles, of which each
//! source is a process or a server on loopback.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod process;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use lifeline_emulator::{Action, Emulator, Fault};

use crate::process::{Process, SOON, until};

/// A home folder with a configuration of AWS's tools.
struct Home(PathBuf);

impl Home {
    fn new(config: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("home-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let home = Self(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name));
        home.write(".aws/config", config);
        home
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A configuration whose default profile runs `script`, which is told where this folder is.
    fn process(script: &str) -> Self {
        let home = Self::new("");
        let script = home.write("credentials.sh", script);
        let process = format!("sh {} {}", script.display(), home.0.display());
        home.write(
            ".aws/config",
            &format!("[default]\nregion = eu-west-1\ncredential_process = {process}\n"),
        );
        home
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

fn emulator() -> Emulator {
    let aws = Emulator::start_on_own_thread().unwrap();
    let _topic = aws.topic("events").subscribed_raw_by(&aws.queue("q"));
    aws
}

/// A producer without any variable but these.
fn command(home: Option<&Home>, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_producer"));
    command.env_clear().env("HEALTH_ADDR", "127.0.0.1:0").env("AWS_EC2_METADATA_DISABLED", "true");
    command
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", home.map_or("/nonexistent".as_ref(), |home| home.0.as_path()));
    // the topic of another region has no subscription
    command.env("WAIT_FOR_SUBSCRIPTION", "false");
    command.envs(variables.iter().copied()).stdin(Stdio::null());
    command
}

fn start(home: Option<&Home>, variables: &[(&str, &str)]) -> Process {
    Process(command(home, variables).stdout(Stdio::null()).spawn().unwrap())
}

/// What it says until it ends by itself.
fn run(variables: &[(&str, &str)]) -> Output {
    command(None, variables).output().unwrap()
}

/// The access keys of the calls that were answered, each once.
fn keys(aws: &Emulator, action: Action) -> Vec<String> {
    let mut keys: Vec<_> = aws.log(action).into_iter().map(|call| call.access_key).collect();
    keys.dedup();
    keys
}

const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")];

#[test]
fn the_endpoint_of_a_service_comes_before_the_general_one() {
    let (sns, other) = (emulator(), emulator());
    let (url, general) = (sns.url(), other.url());
    let variables = [KEYS[0], KEYS[1], ("AWS_ENDPOINT_URL", &general), ("AWS_ENDPOINT_URL_SNS", &url)];
    let _producer = start(None, &variables);
    until("it publishes at SNS's own", || sns.calls(Action::PublishBatch) > 0);
    assert_eq!(other.calls(None), 0);
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let aws = emulator();
    let url = aws.url();
    let empty =
        ["AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ENDPOINT_URL_SNS", "AWS_ENDPOINT_URL_SQS"];
    let empty = empty.map(|name| (name, ""));
    let variables = [&KEYS[..], &[("AWS_ENDPOINT_URL", &url)], &empty].concat();
    let _producer = start(None, &variables);
    until("it publishes", || aws.calls(Action::PublishBatch) > 0);
    let topic = aws.log(Action::PublishBatch)[0].topic().unwrap().to_owned();
    assert!(topic.starts_with("arn:aws:sns:us-east-1:"), "{topic}");
}

#[test]
fn configured_endpoints_can_be_ignored() {
    let aws = emulator();
    let (url, address) = (aws.url(), TcpListener::bind("127.0.0.1:0").unwrap());
    // AWS itself, for which a proxy stands in that takes no connection further
    let proxy = format!("http://{}", address.local_addr().unwrap());
    let variables = [
        KEYS[0],
        KEYS[1],
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ENDPOINT_URL", &url),
        ("AWS_ENDPOINT_URL_SNS", &url),
        ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true"),
        ("HTTPS_PROXY", &proxy),
    ];
    let _producer = start(None, &variables);
    // the account first, of which the topic's ARN is made; SNS when that is refused
    for service in ["sts", "sns"] {
        let wanted = format!("CONNECT {service}.eu-west-1.amazonaws.com:443 HTTP/1.1\r\n");
        until(&wanted, || {
            let mut line = String::new();
            BufReader::new(address.accept().unwrap().0).read_line(&mut line).unwrap();
            line == wanted
        });
    }
    assert_eq!(aws.calls(None), 0);
}

#[test]
fn a_malformed_key_ends_it_with_2_and_is_named_but_not_shown() {
    for (name, value) in [
        ("AWS_ACCESS_KEY_ID", "secret-1\n"),
        ("AWS_SECRET_ACCESS_KEY", "secret-1\r\n"),
        ("AWS_SESSION_TOKEN", "secret-1 secret-2"),
        ("AWS_REGION", "eu-west-1\n"),
    ] {
        let output = run(&[KEYS[0], KEYS[1], ("AWS_ENDPOINT_URL", "http://127.0.0.1:9"), (name, value)]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.starts_with(name) && said.lines().count() == 1 && !said.contains("secret"), "{said}");
    }
}

#[test]
fn a_malformed_key_of_a_process_is_not_signed_with_and_asked_for_again() {
    let aws = emulator();
    let home = Home::process(
        r#"echo run >> $1/runs; [ $(grep -c run $1/runs) -gt 2 ] || end='\n'
        printf '{"Version":1,"AccessKeyId":"key%s","SecretAccessKey":"s"}' "$end""#,
    );
    let url = aws.url();
    let _producer = start(Some(&home), &[("AWS_ENDPOINT_URL", &url)]);
    until("it publishes", || aws.calls(Action::PublishBatch) > 0);
    assert_eq!(keys(&aws, Action::PublishBatch), ["key"]);
}

#[test]
fn a_process_slower_than_a_call_costs_no_call() {
    let aws = emulator();
    let home = Home::process(
        "sleep 2; echo run >> $1/runs; \
         printf '{\"Version\":1,\"AccessKeyId\":\"from-process\",\"SecretAccessKey\":\"s\"}'",
    );
    let url = aws.url();
    let _producer = start(Some(&home), &[("AWS_ENDPOINT_URL", &url), ("CALL_TIMEOUT", "500ms")]);
    until("it publishes", || aws.calls(Action::PublishBatch) > 2);
    assert_eq!(keys(&aws, Action::PublishBatch), ["from-process"]);
    assert_eq!(std::fs::read_to_string(home.0.join("runs")).unwrap(), "run\n", "one load serves all calls");
}

#[test]
fn credentials_are_fetched_again_after_a_denial() {
    let aws = emulator();
    let home = Home::process(
        "echo run >> $1/runs; n=$(grep -c run $1/runs); \
         printf '{\"Version\":1,\"AccessKeyId\":\"key-%s\",\"SecretAccessKey\":\"s\"}' $n",
    );
    aws.inject(
        Fault::on(Action::PublishBatch)
            .when(|call| call.access_key == "key-1")
            .error(403, "InvalidClientTokenId"),
    );
    let url = aws.url();
    let _producer = start(Some(&home), &[("AWS_ENDPOINT_URL", &url)]);
    until("it goes on with the next key", || keys(&aws, Action::PublishBatch).contains(&"key-2".to_owned()));
    assert_eq!(keys(&aws, Action::PublishBatch), ["key-1", "key-2"]);
}

#[test]
fn a_profile_signs_on_at_its_portal() {
    let aws = emulator();
    let portal = TcpListener::bind("127.0.0.1:0").unwrap();
    let portal_url = format!("http://{}", portal.local_addr().unwrap());
    let (asked, requests) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for connection in portal.incoming() {
            let mut connection = connection.unwrap();
            let mut head = String::new();
            let mut reader = BufReader::new(&mut connection);
            while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap() > 0 {}
            let body = r#"{"roleCredentials":{"accessKeyId":"from-portal","secretAccessKey":"s","sessionToken":"t","expiration":4102444800000}}"#;
            write!(
                connection,
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            )
            .unwrap();
            asked.send(head).unwrap();
        }
    });
    let home = Home::new(
        "[profile dev]\nregion = eu-west-1\nsso_session = corp\nsso_account_id = 123456789012\nsso_role_name = Dev\n\
         [sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://corp.awsapps.com/start\n\
         sso_registration_scopes = sso:account:access\n",
    );
    // named by the SHA-1 of the session's name, as `aws sso login` leaves it
    home.write(
        ".aws/sso/cache/ee0bfd2552fbd840c02cc48b6e823320543c450f.json",
        r#"{"startUrl":"https://corp.awsapps.com/start","region":"eu-west-1","accessToken":"token-1","expiresAt":"2099-01-01T00:00:00Z"}"#,
    );
    let url = aws.url();
    let variables = [
        ("AWS_PROFILE", "dev"),
        ("AWS_ENDPOINT_URL_SNS", &url),
        ("AWS_ENDPOINT_URL_SQS", &url),
        ("AWS_ENDPOINT_URL_SSO", &portal_url),
    ];
    let _producer = start(Some(&home), &variables);
    let head = requests.recv_timeout(SOON).unwrap();
    assert!(head.starts_with("GET /federation/credentials?role_name=Dev&account_id=123456789012 "), "{head}");
    assert!(head.contains("x-amz-sso_bearer_token: token-1\r\n"), "{head}");
    until("it publishes", || aws.calls(Action::PublishBatch) > 0);
    assert_eq!(keys(&aws, Action::PublishBatch), ["from-portal"]);
    let topic = aws.log(Action::PublishBatch)[0].topic().unwrap().to_owned();
    assert!(topic.starts_with("arn:aws:sns:eu-west-1:"), "{topic}");
}

/// With the library alone: what the environment says reaches nobody but the SDK. The child is this test again.
#[test]
fn a_publisher_of_the_library_needs_an_endpoint_and_no_region() {
    const NAME: &str = "a_publisher_of_the_library_needs_an_endpoint_and_no_region";
    if std::env::var_os("LIBRARY").is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let started = runtime.block_on(async {
            let publisher = lifeline_producer::Publisher::to("events").start().await?;
            publisher.publish("one").await.unwrap();
            Ok::<_, lifeline_producer::ConfigError>(())
        });
        std::process::exit(match started.map_err(|error| error.kind()) {
            Ok(()) => 0,
            Err(lifeline_producer::ConfigErrorKind::NoRegion) => 3,
            Err(_) => 4,
        });
    }
    let aws = emulator();
    let url = aws.url();
    let run = |variables: &[(&str, &str)]| {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child
            .args(["--exact", NAME, "--nocapture"])
            .env_clear()
            .env("LIBRARY", "1")
            .env("HOME", "/nonexistent");
        child.env("AWS_EC2_METADATA_DISABLED", "true").envs(KEYS).envs(variables.iter().copied());
        child.stdout(Stdio::null()).status().unwrap().code()
    };
    assert_eq!(run(&[("AWS_ENDPOINT_URL", &url)]), Some(0));
    let published = aws.log(Action::PublishBatch)[0].topic().unwrap().to_owned();
    assert!(published.starts_with("arn:aws:sns:us-east-1:"), "{published}");
    let ignored = ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true");
    assert_eq!(run(&[("AWS_ENDPOINT_URL", &url), ignored]), Some(3));
    assert_eq!(run(&[]), Some(3));
}
