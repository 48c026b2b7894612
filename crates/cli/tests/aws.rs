//! `lifeline aws` as a program: what it answers, which faults it has, and that they change while it runs.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

struct Aws {
    child: Child,
    address: String,
    log: Vec<String>,
}

impl Drop for Aws {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn start(arguments: &[&str]) -> Aws {
    let mut child = Command::new(env!("CARGO_BIN_EXE_lifeline"))
        .arg("aws")
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut log = Vec::new();
    let address = loop {
        let line = lines.next().expect("it says where it listens");
        let url = line.split_once("AWS_ENDPOINT_URL=http://").map(|(_, address)| address.to_owned());
        log.push(line);
        if let Some(address) = url {
            break address;
        }
    };
    Aws { child, address, log }
}

impl Aws {
    fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

#[test]
fn it_answers_on_both_address_families_with_the_faults_that_it_was_given_until_they_are_taken_back() {
    let aws = start(&["--listen", "[::]:0", "--fault", "ListQueues: times=1 status=418"]);
    assert!(aws.log.iter().any(|line| line.contains("beyond this machine")), "{:?}", aws.log);
    let list = || aws.ask("POST", "/", "Action=ListQueues&Version=2012-11-05");
    assert!(list().starts_with("HTTP/1.1 418"));
    assert!(list().starts_with("HTTP/1.1 200"));
    let replaced = aws.ask("PUT", "/_lifeline/faults", "# all\n*: error=Broken\n");
    assert!(replaced.contains("*: error=Broken") && !replaced.contains("418"), "{replaced}");
    assert!(list().contains("<Code>Broken</Code>"));
    assert!(aws.ask("DELETE", "/_lifeline/faults", "").ends_with("[]"));
    assert!(list().starts_with("HTTP/1.1 200"));
    assert!(aws.ask("GET", "/_lifeline/calls", "").ends_with(r#"{"ListQueues":4}"#));
}

#[test]
fn a_topic_delivers_to_any_queue_unless_policies_are_enforced() {
    for (flags, held) in [(&[][..], 1), (&["--enforce-policies"], 0)] {
        let aws = start(&[&["--listen", "127.0.0.1:0"], flags].concat());
        let call = |form: &str| {
            let answer = aws.ask("POST", "/", form);
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            answer
        };
        call("Action=CreateTopic&Version=2010-03-31&Name=t");
        call("Action=CreateQueue&Version=2012-11-05&QueueName=q");
        let topic = "arn%3Aaws%3Asns%3Aus-east-1%3A000000000000%3At";
        let queue = "arn%3Aaws%3Asqs%3Aus-east-1%3A000000000000%3Aq";
        call(&format!("Action=Subscribe&Version=2010-03-31&Protocol=sqs&TopicArn={topic}&Endpoint={queue}"));
        call(&format!("Action=Publish&Version=2010-03-31&TopicArn={topic}&Message=x"));
        let receive = aws.ask("POST", "/000000000000/q", "Action=ReceiveMessage&Version=2012-11-05");
        assert_eq!(receive.matches("<Message>").count(), held, "{receive}");
    }
}
