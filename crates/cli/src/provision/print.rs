//! One topology in four languages: Terraform, CloudFormation, Kubernetes objects for the ACK controllers, the AWS CLI.

use std::fmt::Write;

use serde_json::{Value, json};

use super::model::{DEAD_LETTER_RETENTION, Topology, queue_policy};
use crate::permissions::{On, Role};

/// The language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// HCL, for the provider `hashicorp/aws`.
    Terraform,
    /// A template in JSON.
    CloudFormation,
    /// Kubernetes objects for the controllers of SQS, SNS and IAM.
    Ack,
    /// A shell script.
    Cli,
}

impl Language {
    pub(super) const ALL: [(&'static str, Self); 4] = [
        ("terraform", Self::Terraform),
        ("cloudformation", Self::CloudFormation),
        ("ack", Self::Ack),
        ("cli", Self::Cli),
    ];
}

/// The topology in a language.
pub(super) fn print(topology: &Topology, language: Language) -> String {
    match language {
        Language::Terraform => terraform(topology),
        Language::CloudFormation => cloud_formation(topology),
        Language::Ack => ack(topology),
        Language::Cli => cli(topology),
    }
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).expect("a value of JSON is JSON")
}

/// Every line after the first, moved to the right.
fn indented(text: &str, by: usize) -> String {
    text.replace('\n', &format!("\n{}", " ".repeat(by)))
}

fn terraform(topology: &Topology) -> String {
    let Topology { topic, queue, dead_letters, max_receives, raw_delivery, .. } = topology;
    let fifo_topic = if topology.is_fifo_topic() { "\n  fifo_topic = true" } else { "" };
    let fifo_queue = if topology.is_fifo_queue() { "\n  fifo_queue = true" } else { "" };
    // an object of JSON is an expression of Terraform's language, and its strings may refer to resources
    let arn = |on| match on {
        On::Topic => json!("${aws_sns_topic.topic.arn}"),
        On::Queue => json!("${aws_sqs_queue.queue.arn}"),
        On::DeadLetters => json!("${aws_sqs_queue.dead_letters.arn}"),
        On::Temporary => json!(topology.arn(On::Temporary)),
    };
    let policy = indented(&pretty(&queue_policy(&arn(On::Topic), &arn(On::Queue))), 2);
    let mut text = format!(
        r#"resource "aws_sns_topic" "topic" {{
  name = "{topic}"{fifo_topic}
}}

resource "aws_sqs_queue" "dead_letters" {{
  name = "{dead_letters}"{fifo_queue}
  message_retention_seconds = {DEAD_LETTER_RETENTION}
}}

resource "aws_sqs_queue" "queue" {{
  name = "{queue}"{fifo_queue}
  redrive_policy = jsonencode({{
    deadLetterTargetArn = aws_sqs_queue.dead_letters.arn
    maxReceiveCount     = {max_receives}
  }})
}}

resource "aws_sqs_queue_policy" "queue" {{
  queue_url = aws_sqs_queue.queue.id
  policy = jsonencode({policy})
}}

resource "aws_sns_topic_subscription" "queue" {{
  topic_arn            = aws_sns_topic.topic.arn
  protocol             = "sqs"
  endpoint             = aws_sqs_queue.queue.arn
  raw_message_delivery = {raw_delivery}
  # SNS discards what it may not deliver
  depends_on = [aws_sqs_queue_policy.queue]
}}
"#
    );
    for role in Role::ALL {
        let policy = indented(&pretty(&role.policy(arn)), 2);
        let label = role.name().replace('-', "_");
        write!(
            text,
            "\nresource \"aws_iam_policy\" \"{label}\" {{\n  name = \"{}\"\n  policy = jsonencode({policy})\n}}\n",
            role.name()
        )
        .expect("a string takes everything");
    }
    text
}

fn cloud_formation(topology: &Topology) -> String {
    let get = |resource: &str| json!({"Fn::GetAtt": [resource, "Arn"]});
    let arn = |on| match on {
        On::Topic => json!({"Ref": "Topic"}),
        On::Queue => get("Queue"),
        On::DeadLetters => get("DeadLetters"),
        On::Temporary => {
            let prefix = crate::temporary::PREFIX;
            json!({"Fn::Sub": format!("arn:${{AWS::Partition}}:sqs:${{AWS::Region}}:${{AWS::AccountId}}:{prefix}*")})
        }
    };
    let mut resources = json!({
        "Topic": {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": topology.topic}},
        "DeadLetters": {"Type": "AWS::SQS::Queue", "Properties": {
            "QueueName": topology.dead_letters, "MessageRetentionPeriod": DEAD_LETTER_RETENTION}},
        "Queue": {"Type": "AWS::SQS::Queue", "Properties": {
            "QueueName": topology.queue,
            "RedrivePolicy": {"deadLetterTargetArn": get("DeadLetters"), "maxReceiveCount": topology.max_receives}}},
        "QueuePolicy": {"Type": "AWS::SQS::QueuePolicy", "Properties": {
            "Queues": [{"Ref": "Queue"}],
            "PolicyDocument": queue_policy(&arn(On::Topic), &arn(On::Queue))}},
        "Subscription": {"Type": "AWS::SNS::Subscription", "DependsOn": "QueuePolicy", "Properties": {
            "TopicArn": {"Ref": "Topic"},
            "Protocol": "sqs",
            "Endpoint": get("Queue"),
            "RawMessageDelivery": topology.raw_delivery}},
    });
    for (fifo, resource, property) in [
        (topology.is_fifo_topic(), "Topic", "FifoTopic"),
        (topology.is_fifo_queue(), "Queue", "FifoQueue"),
        (topology.is_fifo_queue(), "DeadLetters", "FifoQueue"),
    ] {
        if fifo {
            resources[resource]["Properties"][property] = json!(true);
        }
    }
    for role in Role::ALL {
        let label = match role {
            Role::Producer => "ProducerPolicy",
            Role::Consumer => "ConsumerPolicy",
            Role::Scaler => "ScalerPolicy",
            Role::Operator => "OperatorPolicy",
        };
        resources[label] = json!({"Type": "AWS::IAM::ManagedPolicy", "Properties": {
            "ManagedPolicyName": role.name(), "PolicyDocument": role.policy(arn)}});
    }
    let template = json!({"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources});
    format!("{}\n", pretty(&template))
}

fn ack(topology: &Topology) -> String {
    let arn = |on| json!(topology.arn(on));
    let name = |name: &str| name.to_ascii_lowercase().replace(['.', '_'], "-");
    let object = |group: &str, kind: &str, called: &str, spec: &Value| {
        let object = json!({
            "apiVersion": format!("{group}.services.k8s.aws/v1alpha1"),
            "kind": kind,
            "metadata": {
                "name": name(called),
                "annotations": {
                    // to delete an object must not delete messages
                    "services.k8s.aws/deletion-policy": "retain",
                    "services.k8s.aws/region": topology.region,
                },
            },
            "spec": spec,
        });
        // JSON is YAML
        format!("---\n{}\n", pretty(&object))
    };
    let fifo = |spec: Value, fifo: bool, property: &str| {
        let mut spec = spec;
        if fifo {
            spec[property] = json!("true");
        }
        spec
    };
    let Topology { topic, queue, dead_letters, max_receives, raw_delivery, .. } = topology;
    let redrive = json!({"deadLetterTargetArn": arn(On::DeadLetters), "maxReceiveCount": max_receives});
    let (fifo_topic, fifo_queue) = (topology.is_fifo_topic(), topology.is_fifo_queue());
    // the dead-letter queue first: SQS refuses a redrive policy that names no queue
    let letters =
        json!({"queueName": dead_letters, "messageRetentionPeriod": DEAD_LETTER_RETENTION.to_string()});
    let mut text = object("sqs", "Queue", dead_letters, &fifo(letters, fifo_queue, "fifoQueue"));
    let own = json!({
        "queueName": queue,
        "redrivePolicy": redrive.to_string(),
        "policy": queue_policy(&arn(On::Topic), &arn(On::Queue)).to_string(),
    });
    text += &object("sqs", "Queue", queue, &fifo(own, fifo_queue, "fifoQueue"));
    text += &object("sns", "Topic", topic, &fifo(json!({"name": topic}), fifo_topic, "fifoTopic"));
    let subscription = json!({
        "topicARN": arn(On::Topic),
        "protocol": "sqs",
        "endpoint": arn(On::Queue),
        "rawMessageDelivery": raw_delivery.to_string(),
    });
    text += &object("sns", "Subscription", queue, &subscription);
    for role in Role::ALL {
        let policy = json!({"name": role.name(), "policyDocument": role.policy(arn).to_string()});
        text += &object("iam", "Policy", role.name(), &policy);
    }
    text
}

fn cli(topology: &Topology) -> String {
    let Topology { topic, queue, dead_letters, max_receives, raw_delivery, region, .. } = topology;
    let fifo_topic = if topology.is_fifo_topic() { " --attributes FifoTopic=true" } else { "" };
    let fifo_queue = if topology.is_fifo_queue() { ",FifoQueue=true" } else { "" };
    let fifo_json = if topology.is_fifo_queue() { json!("true") } else { Value::Null };
    let arn = |on| match on {
        On::Topic => json!("$TOPIC"),
        On::Queue => json!("$QUEUE"),
        On::DeadLetters => json!("$DEAD_LETTERS"),
        On::Temporary => json!("${QUEUE%:*}:lifeline-tail-*"),
    };
    let redrive = json!({"deadLetterTargetArn": "$DEAD_LETTERS", "maxReceiveCount": max_receives});
    let mut create = json!({"RedrivePolicy": redrive.to_string()});
    if !fifo_json.is_null() {
        create["FifoQueue"] = fifo_json;
    }
    let allow = json!({"Policy": queue_policy(&arn(On::Topic), &arn(On::Queue)).to_string()});
    let mut text = format!(
        r#"#!/bin/sh
# Makes what is missing. The last lines are policies for the roles; attach each to its role.
set -eu
export AWS_REGION='{region}' AWS_DEFAULT_REGION='{region}' AWS_PAGER=
arn() {{ aws sqs get-queue-attributes --queue-url "$1" --attribute-names QueueArn --query Attributes.QueueArn --output text; }}
TOPIC=$(aws sns create-topic --name '{topic}'{fifo_topic} --query TopicArn --output text)
URL=$(aws sqs create-queue --queue-name '{dead_letters}' --attributes MessageRetentionPeriod={DEAD_LETTER_RETENTION}{fifo_queue} --query QueueUrl --output text)
DEAD_LETTERS=$(arn "$URL")
URL=$(aws sqs create-queue --queue-name '{queue}' --query QueueUrl --output text --attributes "$(cat <<JSON
{create}
JSON
)")
QUEUE=$(arn "$URL")
# replaces the policy of a queue that exists; `lifeline provision` adds a statement instead
aws sqs set-queue-attributes --queue-url "$URL" --attributes "$(cat <<JSON
{allow}
JSON
)"
aws sns subscribe --topic-arn "$TOPIC" --protocol sqs --notification-endpoint "$QUEUE" --attributes RawMessageDelivery={raw_delivery}
"#
    );
    for role in Role::ALL {
        write!(
            text,
            "aws iam create-policy --policy-name {} --policy-document \"$(cat <<JSON\n{}\nJSON\n)\"\n",
            role.name(),
            role.policy(arn)
        )
        .expect("a string takes everything");
    }
    text
}
