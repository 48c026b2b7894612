//! The local page as a browser uses it: what it shows, what it does, and whom it refuses.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// A process that serves a page.
struct Served {
    child: Child,
    address: String,
    token: String,
    health: String,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn start(arguments: &[&str]) -> Served {
    let mut child = Command::new(env!("CARGO_BIN_EXE_lifeline"))
        .args(arguments)
        .args(["--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let after = |line: &str, what: &str| line.split_once(what).map(|(_, rest)| rest.to_owned());
    let page = lines.find_map(|line| after(&line, "page: http://")).expect("it says where the page is");
    let (address, token) = page.split_once("/_lifeline/#").expect("with a token");
    let (address, token) = (address.to_owned(), token.to_owned());
    let health = match arguments[0] {
        "up" => lines.find_map(|line| after(&line, "consumer: http://")).unwrap(),
        _ => String::new(),
    };
    let health = health.split('/').next().unwrap().to_owned();
    // the log must not stop it
    std::thread::spawn(move || lines.for_each(drop));
    Served { child, address, token, health }
}

fn up(arguments: &[&str]) -> Served {
    let ports = ["--producer-health-addr", "127.0.0.1:0", "--consumer-health-addr", "127.0.0.1:0"];
    start(&[&["up"], &ports[..], arguments].concat())
}

/// The status and the body of a response.
fn ask(address: &str, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    let host = if headers.contains("Host:") { "" } else { "Host: localhost\r\n" };
    let request = format!(
        "{method} {path} HTTP/1.1\r\n{host}{headers}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

impl Served {
    fn page(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let token = format!("x-lifeline-token: {}\r\n", self.token);
        let (status, body) = ask(&self.address, method, &format!("/_lifeline/page/{path}"), &token, body);
        (status, serde_json::from_str(&body).unwrap())
    }

    fn state(&self) -> Value {
        let (status, state) = self.page("GET", "state", "");
        assert_eq!(status, 200, "{state}");
        state
    }

    fn act(&self, act: &Value) -> Value {
        let (status, done) = self.page("POST", "act", &act.to_string());
        assert_eq!(status, 200, "{act}: {done}");
        done
    }

    fn refused(&self, act: &Value) -> String {
        let (status, refused) = self.page("POST", "act", &act.to_string());
        assert_eq!(status, 400, "{act}: {refused}");
        refused["error"].as_str().unwrap().to_owned()
    }

    fn queue(&self, name: &str) -> Value {
        let state = self.state();
        state["queues"].as_array().unwrap().iter().find(|queue| queue["name"] == name).unwrap().clone()
    }

    fn messages(&self, name: &str) -> Vec<Value> {
        let (status, messages) = self.page("GET", &format!("messages?queue={}", arn(name)), "");
        assert_eq!(status, 200, "{messages}");
        messages.as_array().unwrap().clone()
    }

    fn sqs(&self, path: &str, form: &str) -> String {
        let (status, answer) = ask(&self.address, "POST", path, "", &format!("{form}&Version=2012-11-05"));
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// The consumer's own answer.
    fn health(&self, path: &str) -> (u16, String) {
        ask(&self.health, "GET", path, "", "")
    }

    fn wait(&self, what: &str, seen: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + Duration::from_secs(90);
        loop {
            let state = self.state();
            if seen(&state) {
                return state;
            }
            assert!(Instant::now() < deadline, "{what}: not so within 90 s: {state:#}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Ends it by a signal; its exit code, and how long that took.
    fn stop(mut self) -> (Option<i32>, Duration) {
        let since = Instant::now();
        assert!(
            Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap().success()
        );
        (self.child.wait().unwrap().code(), since.elapsed())
    }
}

fn arn(name: &str) -> String {
    format!("arn:aws:sqs:us-east-1:000000000000:{name}")
}

const REDRIVE: &str = "Attribute.1.Name=RedrivePolicy&Attribute.1.Value=%7B%22deadLetterTargetArn%22%3A%22arn%3Aaws%3Asqs%3Aus-east-1%3A000000000000%3Adead%22%2C%22maxReceiveCount%22%3A3%7D";

#[test]
fn messages_are_read_without_receiving_them_and_sent_redriven_and_purged() {
    let aws = start(&["aws"]);
    aws.sqs("/", "Action=CreateQueue&QueueName=dead");
    aws.sqs("/", &format!("Action=CreateQueue&QueueName=orders&{REDRIVE}"));
    for n in 0..30 {
        let attributes = json!({"kind": "order"});
        aws.act(&json!({"do": "send", "to": arn("orders"), "body": format!("<b>{n}</b>"), "attributes": attributes}));
    }
    for _ in 0..3 {
        let first = aws.messages("orders");
        assert_eq!(first.len(), 25, "a page of them");
        assert_eq!(first[0]["body"], "<b>0</b>");
        assert_eq!(first[0]["attributes"], json!([["kind", "String", "order"]]));
        let next =
            format!("messages?queue={}&after={}", arn("orders"), first[24]["cursor"].as_str().unwrap());
        let (_, next) = aws.page("GET", &next, "");
        assert_eq!((next.as_array().unwrap().len(), &next[0]["body"]), (5, &json!("<b>25</b>")));
        assert!(first.iter().all(|message| message["receive_count"] == 0 && message["place"] == "visible"));
    }
    let queue = aws.queue("orders");
    assert_eq!((&queue["visible"], &queue["in_flight"]), (&json!(30), &json!(0)));
    let received = aws.sqs("/000000000000/orders", "Action=ReceiveMessage&AttributeName.1=All");
    assert!(
        received.contains("<Name>ApproximateReceiveCount</Name><Value>1</Value>"),
        "the first receive: {received}"
    );
    assert_eq!(aws.messages("orders")[0]["place"], "in flight");

    // a long body has its beginning in the list, and all of it on demand
    let long = "ö".repeat(5000);
    aws.act(&json!({"do": "send", "to": arn("dead"), "body": long}));
    let message = &aws.messages("dead")[0];
    assert_eq!((&message["cut"], &message["bytes"]), (&json!(true), &json!(10_000)));
    let at = format!("messages?queue={}&at={}", arn("dead"), message["cursor"].as_str().unwrap());
    assert_eq!(aws.page("GET", &at, "").1[0]["body"], long);

    let nowhere = aws.refused(&json!({"do": "redrive", "queue": arn("dead")}));
    assert!(nowhere.contains("failed after 0 messages"), "it was sent there directly: {nowhere}");
    aws.act(&json!({"do": "purge", "queue": arn("dead")}));
    for _ in 0..4 {
        let receive = "Action=ReceiveMessage&VisibilityTimeout=0&MaxNumberOfMessages=10";
        aws.sqs("/000000000000/orders", receive);
    }
    let letters = aws.messages("dead");
    assert!(
        !letters.is_empty() && letters.iter().all(|letter| letter["dead_letter_of"] == "orders"),
        "{letters:?}"
    );
    let moved = aws.act(&json!({"do": "redrive", "queue": arn("dead")}));
    assert_eq!(moved["done"], format!("redrive: {} moved", letters.len()));
    assert!(aws.messages("dead").is_empty());
    assert_eq!(aws.queue("orders")["visible"], 29, "all but the one in flight");
    aws.act(&json!({"do": "purge", "queue": arn("orders")}));
    assert!(aws.messages("orders").is_empty());

    assert!(aws.refused(&json!({"do": "redrive", "queue": arn("orders")})).contains("Dead Letter Queue"));
    assert!(aws.refused(&json!({"do": "send", "to": arn("none"), "body": "x"})).contains("does not exist"));
    assert!(aws.refused(&json!({"do": "switch", "switch": "hang", "on": true})).contains("no pipeline"));
    assert!(aws.refused(&json!({"do": "nothing"})).contains("unknown variant"));
    assert_eq!(aws.page("GET", &format!("messages?queue={}", arn("none")), "").0, 404);
    assert_eq!(aws.state()["pipeline"], Value::Null);
    let (code, took) = aws.stop();
    assert!(code == Some(0) && took < Duration::from_secs(5), "{code:?} after {took:?}");
}

#[test]
fn the_page_acts_while_sns_and_sqs_are_cut_off_and_takes_faults_back() {
    let aws = start(&["aws"]);
    aws.sqs("/", "Action=CreateQueue&QueueName=orders");
    aws.act(&json!({"do": "cut-off", "on": true}));
    assert_eq!(aws.state()["cut_off"], true);
    let mut stream = TcpStream::connect(&aws.address).unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 36\r\n\r\nAction=ListQueues&Version=2012-11-05\n").unwrap();
    let mut nothing = Vec::new();
    stream.read_to_end(&mut nothing).ok();
    assert!(nothing.is_empty(), "reset, not answered: {}", String::from_utf8_lossy(&nothing));
    aws.act(&json!({"do": "send", "to": arn("orders"), "body": "in an outage"}));
    assert_eq!(aws.messages("orders")[0]["body"], "in an outage");
    aws.act(&json!({"do": "cut-off", "on": false}));
    aws.sqs("/", "Action=ListQueues");

    aws.act(&json!({"do": "fault", "text": "ListQueues: error=Broken"}));
    let faults = aws.state()["faults"].clone();
    assert_eq!(faults[0]["text"], "ListQueues: error=Broken");
    aws.act(&json!({"do": "take-back", "id": faults[0]["id"]}));
    aws.sqs("/", "Action=ListQueues");
    assert!(aws.refused(&json!({"do": "take-back", "id": 99})).contains("no such fault"));
    assert!(aws.refused(&json!({"do": "fault", "text": "Recieve: hang"})).contains("no action"));
    assert!(aws.refused(&json!({"do": "fault", "text": " "})).contains("write a fault"));
}

#[test]
fn only_the_page_itself_gets_an_answer() {
    let aws = start(&["aws"]);
    let state = "/_lifeline/page/state";
    let refused = |path: &str, headers: &str| {
        let (status, body) = ask(&aws.address, "GET", path, headers, "");
        assert_eq!(status, 403, "{path} {headers}: {body}");
        body
    };
    let token = format!("x-lifeline-token: {}\r\n", aws.token);
    assert!(refused(state, "").contains("token is missing"));
    assert!(
        refused(state, "x-lifeline-token: 0123456789abcdef01234567\r\n").contains("not that of this process")
    );
    assert!(refused(state, &format!("{token}Host: evil.example\r\n")).contains("Host"));
    assert!(refused("/_lifeline/", "Host: evil.example\r\n").contains("Host"), "the page itself too");
    assert!(refused(state, &format!("{token}Origin: https://evil.example\r\n")).contains("Origin"));
    assert!(
        refused(state, &format!("{token}Origin: http://localhost:3000\r\n")).contains("Origin"),
        "another port"
    );
    assert!(refused(state, &format!("{token}Sec-Fetch-Site: cross-site\r\n")).contains("Sec-Fetch-Site"));
    let own = format!("{token}Host: {0}\r\nOrigin: http://{0}\r\n", aws.address);
    assert_eq!(ask(&aws.address, "GET", state, &own, "").0, 200);
    assert_eq!(ask(&aws.address, "POST", "/_lifeline/page/act", "", "{}").0, 403);
    assert_eq!(ask(&aws.address, "GET", "/_lifeline/page/act", &token, "").0, 405);
    assert_eq!(ask(&aws.address, "GET", "/_lifeline/page/other", &token, "").0, 404);
    assert_eq!(ask(&aws.address, "GET", "/_lifeline", "", "").0, 308);

    let (status, page) = ask(&aws.address, "GET", "/_lifeline/", "", "");
    assert!(status == 200 && page.starts_with("<!doctype html>"), "{status}");
    assert!(!page.contains(&aws.token) && !page.contains("NONCE"), "nothing secret is in the page");
    let mut stream = TcpStream::connect(&aws.address).unwrap();
    stream.write_all(b"GET /_lifeline/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let head = answer.split("\r\n\r\n").next().unwrap();
    assert!(
        head.contains("default-src 'none'") && head.contains("no-store") && head.contains("nosniff"),
        "{head}"
    );
}

#[test]
fn a_handler_that_is_unavailable_or_poisoned_recovers() {
    let up = up(&["--publish-rate", "20", "--max-receives", "1"]);
    up.wait("messages flow", |state| state["pipeline"]["consumer"]["deleted"].as_u64() > Some(20));
    up.act(&json!({"do": "switch", "switch": "unavailable", "on": true}));
    let open = up.wait("the breaker opens", |state| state["pipeline"]["consumer"]["breaker"] == true);
    assert_eq!(open["pipeline"]["consumer"]["up"], true, "a restart would not help");
    let (status, reasons) = up.health("/ready");
    assert!(status == 503 && reasons.contains("handler"), "{status} {reasons}");
    assert_eq!(up.health("/health").0, 200);
    up.act(&json!({"do": "switch", "switch": "unavailable", "on": false}));
    let handled = open["pipeline"]["consumer"]["deleted"].as_u64().unwrap();
    up.wait("it recovers", |state| {
        let consumer = &state["pipeline"]["consumer"];
        consumer["breaker"] == false && consumer["deleted"].as_u64() > Some(handled + 20)
    });
    assert_eq!(up.health("/ready").0, 200);

    up.act(&json!({"do": "switch", "switch": "poison", "on": true}));
    let dead = "events-consumer-dlq";
    let letters = |state: &Value, count: u64| {
        state["queues"]
            .as_array()
            .unwrap()
            .iter()
            .any(|queue| queue["name"] == dead && queue["visible"] == count)
    };
    let state = up.wait("a dead letter", |state| letters(state, 1));
    let recent = state["pipeline"]["recent"].as_array().unwrap();
    let failed = recent.iter().find(|message| message["outcome"] == "failed");
    assert!(failed.is_none_or(|message| message["reason"] == "poisoned at the page"), "{failed:?}");
    assert!(up.messages(dead)[0]["body"].as_str().unwrap().contains("poisoned"));
    // redriven to the same handler it fails again, to one that is repaired it does not
    up.act(&json!({"do": "switch", "switch": "poison", "on": false}));
    up.act(&json!({"do": "redrive", "queue": arn(dead)}));
    up.wait("it is handled", |state| {
        let recent = state["pipeline"]["recent"].as_array().unwrap();
        let poisoned =
            |message: &Value| message["body"].as_str().is_some_and(|body| body.contains("poisoned"));
        letters(state, 0) && recent.iter().any(|message| poisoned(message) && message["outcome"] == "handled")
    });
    let (code, _) = up.stop();
    assert_eq!(code, Some(0));
}

#[test]
fn a_consumer_that_hangs_is_restarted_and_one_that_is_cut_off_is_not() {
    let up = up(&["--publish-rate", "20"]);
    up.wait("messages flow", |state| state["pipeline"]["consumer"]["deleted"].as_u64() > Some(20));
    up.act(&json!({"do": "cut-off", "on": true}));
    let state = up.wait("an outage", |state| {
        let unready =
            |name: &str| state["pipeline"][name]["reasons"].as_array().is_some_and(|all| !all.is_empty());
        unready("producer") && unready("consumer")
    });
    assert!(state["pipeline"]["consumer"]["up"] == true && state["pipeline"]["producer"]["up"] == true);
    assert_eq!((up.health("/ready").0, up.health("/health").0), (503, 200));
    up.act(&json!({"do": "cut-off", "on": false}));
    let ready = |state: &Value| state["pipeline"]["consumer"]["reasons"] == json!([]);
    up.wait("it is back", ready);

    up.act(&json!({"do": "switch", "switch": "hang", "on": true}));
    assert_eq!(up.state()["pipeline"]["switches"]["hang"], true);
    up.wait("it is down", |state| state["pipeline"]["consumer"]["up"] == false);
    let (status, body) = up.health("/health");
    assert!(status == 503 && body.contains("DOWN"), "{status} {body}");
    let state = up.wait("it is restarted", |state| state["pipeline"]["consumer"]["restarts"] == 1);
    let handled = state["pipeline"]["consumer"]["deleted"].as_u64().unwrap();
    let state = up.wait("it works again", |state| {
        let consumer = &state["pipeline"]["consumer"];
        ready(state) && consumer["up"] == true && consumer["deleted"].as_u64() > Some(handled + 20)
    });
    assert_eq!((up.health("/ready").0, up.health("/health").0), (200, 200));
    assert_eq!(state["pipeline"]["switches"]["hang"], false);
    // once the backlog is handled, nothing is in flight but for moments: what the former one had is forgotten
    up.wait("nothing is in flight", |state| state["pipeline"]["consumer"]["in_flight"] == 0);
    let events = state["pipeline"]["events"].to_string();
    assert!(
        events.contains("liveness probe 3 of 3 failed: 503") && events.contains("was restarted"),
        "{events}"
    );
}

#[test]
fn nothing_that_is_broken_at_the_page_keeps_the_process_from_stopping() {
    let up = up(&["--publish-rate", "20"]);
    up.wait("messages flow", |state| state["pipeline"]["consumer"]["deleted"].as_u64() > Some(20));
    let _open = TcpStream::connect(&up.address).unwrap();
    for switch in ["hang", "unavailable", "poison"] {
        up.act(&json!({"do": "switch", "switch": switch, "on": true}));
    }
    up.act(&json!({"do": "cut-off", "on": true}));
    let (code, took) = up.stop();
    assert!(code.is_some_and(|code| code <= 1) && took < Duration::from_secs(20), "{code:?} after {took:?}");
}
