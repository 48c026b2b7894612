//! `lifeline provision` as a program: the plan, what is made and read back, and what is printed.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::{Command, Output};

use lifeline_cli::permissions::{On, PERMISSIONS, Permission, Role};
use lifeline_emulator::{Action, Emulator, Fault};
use lifeline_messaging::topology::topic_may_send;
use serde_json::{Value, json};

mod support;

use support::{lifeline, text};

fn provision(aws: &Emulator, arguments: &[&str]) -> Output {
    lifeline(&aws.url(), &[&["provision"], arguments].concat()).output().unwrap()
}

fn changes(aws: &Emulator) -> u64 {
    let actions = [Action::CreateTopic, Action::CreateQueue, Action::SetQueueAttributes, Action::Subscribe];
    actions.map(|action| aws.calls(action)).iter().sum()
}

#[test]
fn a_dry_run_changes_nothing_and_the_run_makes_what_it_said() {
    let aws = Emulator::start_on_own_thread().unwrap();
    let output = provision(&aws, &["--dry-run"]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    for line in [
        "region us-east-1, account 000000000000\n",
        "  + topic events\n",
        "  + queue events-consumer-dlq\n      MessageRetentionPeriod = 1209600 (14 d)\n",
        "  + queue events-consumer\n      RedrivePolicy = events-consumer-dlq after 5 receives\n",
        "  + queue policy\n      statement LifelineTopics: ",
        "  + subscription of events-consumer to events\n      RawMessageDelivery = false\n",
        "\nPlan: 5 to create, 0 to change, 0 to keep, 0 different and left alone.\n",
    ] {
        assert!(text(&output).contains(line), "{line:?} in {}", text(&output));
    }
    assert_eq!(changes(&aws), 0);
    let output = provision(&aws, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).ends_with("Done: everything was made, and read back.\n"), "{}", text(&output));
    let made = changes(&aws);
    let output = provision(&aws, &["--dry-run", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(plan["steps"].as_array().unwrap().iter().all(|step| step["action"] == "keep"), "{plan}");
    assert_eq!(provision(&aws, &[]).status.code(), Some(0));
    assert_eq!(changes(&aws), made, "nothing is made twice");
}

#[test]
fn what_exists_is_merged_with_and_never_overwritten() {
    let aws = Emulator::start_on_own_thread().unwrap();
    let queue = aws.queue("events-consumer").max_receives(3);
    let foreign = json!({"Version": "2012-10-17", "Statement": [
        {"Sid": "Backup", "Effect": "Allow", "Principal": {"AWS": "000000000000"}, "Action": "sqs:ReceiveMessage", "Resource": queue.arn()}]});
    queue.set_attribute("Policy", &foreign.to_string());
    let output = provision(&aws, &["--dry-run"]);
    let differs = "  ! queue events-consumer\n      maxReceiveCount is 3, and would be 5\n";
    assert!(text(&output).contains(differs), "{}", text(&output));
    assert!(
        text(&output).contains("  ~ queue policy\n      + statement LifelineTopics"),
        "{}",
        text(&output)
    );
    let output = provision(&aws, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let policy: Value = serde_json::from_str(&queue.get_attribute("Policy").unwrap()).unwrap();
    assert_eq!(
        (policy["Statement"].as_array().unwrap().len(), &policy["Statement"][0]),
        (2, &foreign["Statement"][0])
    );
    assert!(queue.get_attribute("RedrivePolicy").unwrap().contains("\"maxReceiveCount\":3"));

    let deny = json!({"Statement": [{"Sid": "Frozen", "Effect": "Deny", "Principal": "*", "Action": "sqs:SendMessage", "Resource": queue.arn()}]});
    queue.set_attribute("Policy", &deny.to_string());
    let output = provision(&aws, &["--dry-run"]);
    assert!(text(&output).contains("it denies the topic by"), "{}", text(&output));
}

#[test]
fn a_failure_is_reported_with_the_call() {
    let aws = Emulator::start_on_own_thread().unwrap();
    aws.inject(Fault::on(Action::CreateQueue).error(403, "AccessDenied"));
    let output = provision(&aws, &[]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("CreateQueue failed (denied, HTTP 403)"), "{}", text(&output));
    let output = provision(&aws, &["--queue-name", "x.fifo"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
}

fn printed(aws: &Emulator, language: &str, fifo: bool) -> String {
    let fifo: &[&str] =
        if fifo { &["--topic-name", "events.fifo", "--queue-name", "billing.fifo"] } else { &[] };
    let output = provision(aws, &[&["--print", language, "--max-receives", "7"], fifo].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Every text in a value of JSON, and what a template's functions stand for.
fn resolve(value: &Value) -> Value {
    match value {
        Value::Object(map) if map.len() == 1 => match (map.get("Ref"), map.get("Fn::GetAtt")) {
            (Some(name), _) => {
                json!(format!("arn:aws:sns:us-east-1:000000000000:{}", name.as_str().unwrap()))
            }
            (_, Some(get)) => {
                json!(format!("arn:aws:sqs:us-east-1:000000000000:{}", get[0].as_str().unwrap()))
            }
            _ => Value::Object(map.iter().map(|(name, value)| (name.clone(), resolve(value))).collect()),
        },
        Value::Object(map) => map.iter().map(|(name, value)| (name.clone(), resolve(value))).collect(),
        Value::Array(all) => all.iter().map(resolve).collect(),
        other => other.clone(),
    }
}

#[test]
fn a_template_of_cloudformation_makes_the_same() {
    let aws = Emulator::start_on_own_thread().unwrap();
    let template: Value = serde_json::from_str(&printed(&aws, "cloudformation", false)).unwrap();
    let resources = &template["Resources"];
    assert_eq!(resources["Queue"]["Properties"]["RedrivePolicy"]["maxReceiveCount"], 7);
    assert_eq!(resources["DeadLetters"]["Properties"]["MessageRetentionPeriod"], 1_209_600);
    let policy = resolve(&resources["QueuePolicy"]["Properties"]["PolicyDocument"]).to_string();
    let (queue, topic) =
        ("arn:aws:sqs:us-east-1:000000000000:Queue", "arn:aws:sns:us-east-1:000000000000:Topic");
    let now = std::time::SystemTime::now();
    assert!(topic_may_send(&policy, queue, topic, now).is_allowed(), "{policy}");
    let fifo: Value = serde_json::from_str(&printed(&aws, "cloudformation", true)).unwrap();
    for (resource, property) in [("Topic", "FifoTopic"), ("Queue", "FifoQueue"), ("DeadLetters", "FifoQueue")]
    {
        assert_eq!(fifo["Resources"][resource]["Properties"][property], true);
        assert!(resources[resource]["Properties"].get(property).is_none());
    }
    assert_eq!(changes(&aws), 0);
}

#[test]
fn kubernetes_objects_have_a_policy_that_allows_the_topic() {
    let aws = Emulator::start_on_own_thread().unwrap();
    let objects: Vec<Value> = printed(&aws, "ack", false)
        .split("---\n")
        .filter(|object| !object.is_empty())
        .map(|object| serde_json::from_str(object).unwrap())
        .collect();
    let kinds: Vec<_> = objects.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["Queue", "Queue", "Topic", "Subscription", "Policy", "Policy", "Policy", "Policy"]);
    let policy = objects[1]["spec"]["policy"].as_str().unwrap();
    let (queue, topic) = (objects[3]["spec"]["endpoint"].as_str(), objects[3]["spec"]["topicARN"].as_str());
    let now = std::time::SystemTime::now();
    assert!(topic_may_send(policy, queue.unwrap(), topic.unwrap(), now).is_allowed(), "{policy}");
}

#[test]
fn the_policies_of_all_languages_have_the_actions_of_the_table() {
    let aws = Emulator::start_on_own_thread().unwrap();
    for language in ["terraform", "cloudformation", "ack", "cli"] {
        let printed = printed(&aws, language, true);
        for Permission { role, actions, .. } in PERMISSIONS {
            assert!(printed.contains(role.name()), "{language}");
            assert!(actions.iter().all(|action| printed.contains(action)), "{language}: {actions:?}");
        }
        assert!(printed.contains("billing-dlq.fifo"), "{language}: {printed}");
    }
}

/// The page for EKS says what each role needs, in a table and as policies: the same as the table in the code.
#[test]
fn the_page_for_eks_has_the_policies_of_the_table() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/eks.md")).unwrap();
    for role in [Role::Producer, Role::Consumer, Role::Scaler] {
        let file = role.name().trim_start_matches("lifeline-");
        let (_, rest) = page.split_once(&format!("cat >{file}.json <<J\n")).unwrap();
        let written: Value = serde_json::from_str(rest.split_once("\nJ\n").unwrap().0).unwrap();
        let actions = |statement: &Value| match &statement["Action"] {
            Value::String(one) => vec![one.clone()],
            many => {
                many.as_array().unwrap().iter().map(|action| action.as_str().unwrap().to_owned()).collect()
            }
        };
        let arn = |on| match on {
            On::Topic => json!("$TOPIC"),
            On::Queue => json!("$QUEUE"),
            On::DeadLetters => json!("$QUEUE-dlq"),
            On::Temporary => json!("lifeline-tail-*"),
        };
        let as_pairs = |policy: &Value| -> Vec<(Value, Vec<String>)> {
            let statements = policy["Statement"].as_array().unwrap().iter();
            statements.map(|statement| (statement["Resource"].clone(), actions(statement))).collect()
        };
        assert_eq!(as_pairs(&written), as_pairs(&role.policy(arn)), "{}", role.name());
    }
    let table: Vec<&str> = page.lines().filter(|line| line.starts_with('|')).collect();
    for Permission { role, on, actions, without } in PERMISSIONS.iter().filter(|p| p.role != Role::Operator) {
        let on = match on {
            On::Topic => "the topic",
            On::Queue => "the queue",
            On::DeadLetters => "the dead-letter queue",
            On::Temporary => "temporary queues",
        };
        let actions: Vec<_> = actions.iter().map(|action| format!("`{action}`")).collect();
        let row = format!("| {} | {on} | {without} |", actions.join(", "));
        assert!(table.iter().any(|line| line.ends_with(&row)), "{role:?}: {row}");
    }
}

/// What a call is about: the resource of the table.
fn resource(call: &lifeline_emulator::Call) -> Option<On> {
    let request = &call.request;
    if request["TopicArn"].is_string() || request["SubscriptionArn"].is_string() {
        return Some(On::Topic);
    }
    let of_arn = ["SourceArn", "TaskHandle"].iter().any(|name| request[name].is_string());
    match call.queue() {
        Some(name) if name.starts_with("lifeline-tail-") => Some(On::Temporary),
        Some(name) if name.ends_with("-dlq") => Some(On::DeadLetters),
        Some(_) => Some(On::Queue),
        None => of_arn.then_some(On::DeadLetters),
    }
}

#[test]
fn the_operators_commands_need_nothing_that_their_role_lacks() {
    let aws = Emulator::start_on_own_thread().unwrap();
    assert_eq!(provision(&aws, &[]).status.code(), Some(0));
    let before = aws.log(None).len();
    let letters = aws.existing_queue("events-consumer-dlq");
    for arguments in [
        &["doctor", "--probe"][..],
        &["send", "x"],
        &["tail", "queue", "--count", "1"],
        &["dlq", "list"],
        &["dlq", "show", "x"],
        &["dlq", "redrive", "--limit", "1"],
        &["dlq", "redrive"],
        &["dlq", "purge", "--yes", "--limit", "1"],
        &["dlq", "purge", "--yes"],
    ] {
        letters.send("a letter");
        let output = Command::new(env!("CARGO_BIN_EXE_lifeline"))
            .args(arguments)
            .args(["--aws-endpoint-url", &aws.url(), "--aws-region", "us-east-1"])
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .output()
            .unwrap();
        let missing = arguments.contains(&"show");
        assert_eq!(output.status.code(), Some(i32::from(missing)), "{arguments:?}: {}", text(&output));
    }
    let mut used = 0;
    for call in aws.log(None).into_iter().skip(before) {
        let name = format!("{:?}", call.action);
        let (name, on) = (name.strip_suffix("Batch").unwrap_or(&name), resource(&call));
        if name == "GetCallerIdentity" {
            continue;
        }
        let allowed = PERMISSIONS.iter().any(|permission| {
            let named = |action: &&str| action.split_once(':').is_some_and(|(_, action)| action == name);
            permission.role == Role::Operator
                && Some(permission.on) == on
                && permission.actions.iter().any(named)
        });
        assert!(allowed, "{name} on {on:?}: {}", call.request);
        used += 1;
    }
    assert!(used > 50, "{used}");
}
