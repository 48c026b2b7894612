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
    /// A call of SQS that succeeds; the text of its answer.
    fn sqs(&self, path: &str, form: &str) -> String {
        let answer = self.ask("POST", path, &format!("{form}&Version=2012-11-05"));
        assert!(answer.starts_with("HTTP/1.1 200"), "{form}: {answer}");
        answer
    }

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

/// The texts of an element, in order.
fn texts<'a>(xml: &'a str, element: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    xml.split(open.as_str()).skip(1).filter_map(|rest| rest.split(close.as_str()).next()).collect()
}

#[test]
fn a_killed_endpoint_has_after_its_restart_what_it_had_acknowledged_and_not_what_was_deleted() {
    let file = format!("{}/{}.redb", env!("CARGO_TARGET_TMPDIR"), std::process::id());
    let arguments = ["--listen", "127.0.0.1:0", "--data", &file];
    let mut aws = start(&arguments);
    let dead = "%7B%22deadLetterTargetArn%22%3A%22arn%3Aaws%3Asqs%3Aus-east-1%3A000000000000%3Adead%22%2C%22maxReceiveCount%22%3A3%7D";
    aws.sqs("/", "Action=CreateQueue&QueueName=dead");
    let redrive = format!("&Attribute.1.Name=RedrivePolicy&Attribute.1.Value={dead}");
    aws.sqs("/", &format!("Action=CreateQueue&QueueName=orders{redrive}"));
    aws.sqs(
        "/",
        "Action=CreateQueue&QueueName=orders.fifo&Attribute.1.Name=FifoQueue&Attribute.1.Value=true",
    );
    let fifo = "Action=SendMessage&MessageBody=f&MessageGroupId=g&MessageDeduplicationId=d";
    let first = aws.sqs("/000000000000/orders.fifo", fifo);
    for n in 0..20 {
        aws.sqs("/000000000000/orders", &format!("Action=SendMessage&MessageBody=before-{n}"));
    }
    let receive = "Action=ReceiveMessage&VisibilityTimeout=600&MaxNumberOfMessages=2";
    let received = aws.sqs("/000000000000/orders", receive);
    let gone =
        texts(&received, "ReceiptHandle")[0].replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    aws.sqs("/000000000000/orders", &format!("Action=DeleteMessage&ReceiptHandle={gone}"));

    // killed while a client sends as fast as it can: what was acknowledged must be there
    let mut acknowledged = Vec::new();
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut acknowledged = Vec::new();
            for n in 0.. {
                let Ok(mut stream) = TcpStream::connect(&aws.address) else { break };
                let body = format!("Action=SendMessage&MessageBody=during-{n}&Version=2012-11-05");
                let length = body.len();
                let request = format!("POST /000000000000/orders HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
                let mut answer = String::new();
                if stream.write_all(request.as_bytes()).is_err() || stream.read_to_string(&mut answer).is_err() {
                    break;
                }
                if answer.contains("<MessageId>") {
                    acknowledged.push(format!("during-{n}"));
                }
            }
            acknowledged
        });
        std::thread::sleep(std::time::Duration::from_millis(300));
        let killed = Command::new("kill").args(["-9", &aws.child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        acknowledged = sender.join().unwrap();
    });
    aws.child.wait().unwrap();
    assert!(!acknowledged.is_empty());

    let again = start(&arguments);
    let attributes = again.sqs("/000000000000/orders", "Action=GetQueueAttributes&AttributeName.1=All");
    assert!(attributes.contains("maxReceiveCount"), "{attributes}");
    let repeated = again.sqs("/000000000000/orders.fifo", fifo);
    assert_eq!(texts(&repeated, "MessageId"), texts(&first, "MessageId"), "it is still a duplicate");
    let mut held = Vec::new();
    loop {
        let page = again.sqs(
            "/000000000000/orders",
            "Action=ReceiveMessage&VisibilityTimeout=600&MaxNumberOfMessages=10",
        );
        let bodies = texts(&page, "Body");
        if bodies.is_empty() {
            break;
        }
        held.extend(bodies.into_iter().map(str::to_owned));
    }
    assert_eq!(
        held.iter().filter(|body| body.starts_with("before")).count(),
        18,
        "one deleted, one in flight"
    );
    let lost: Vec<_> = acknowledged.iter().filter(|body| !held.contains(body)).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    let second = Command::new(env!("CARGO_BIN_EXE_lifeline")).arg("aws").args(arguments).output().unwrap();
    assert_eq!(second.status.code(), Some(1), "one process at a time");
    drop(again);
    std::fs::remove_file(file).unwrap();
}
