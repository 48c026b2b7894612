//! `lifeline doctor`: looks at what must be right before messages flow, changes nothing, and says what to do.
//!
//! The faults that cost nights are silent ones: a queue policy that does not let the topic in (SNS discards, and every
//! emulator delivers all the same), a subscription that is missing, a queue without dead letters.

use std::fmt::{self, Display};
use std::time::Duration;

use aws_sdk_sqs::types::QueueAttributeName;
use lifeline_messaging::call::{Fault, bounded};
use lifeline_messaging::client::{Access, Clients};
use lifeline_messaging::topology::{self, Queue, QueueSpec, admission, admitting_policy, queue_attributes};
use lifeline_service::Log;
use lifeline_service::settings::Problems;

use crate::args::{DoctorArgs, PREFIX};

/// What the doctor needs: the consumer's settings tell it all.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `LOG_FORMAT` and `RUST_LOG`.
    pub log: Log,
    access: Access,
    spec: QueueSpec,
    handler_timeout: Duration,
}

impl Settings {
    /// Checks them.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn check(args: DoctorArgs) -> Result<Self, Problems> {
        let mut problems = Problems::new(PREFIX);
        let access = args.aws.check(&mut problems);
        let topic = args.topic.check(&access, &mut problems);
        let spec = args.queue.check(topic, &mut problems);
        let handler_timeout = args.worker.check(&mut problems).handler_timeout;
        let log = args.log.check(&mut problems);
        // it looks and changes nothing
        let spec = QueueSpec { provision: false, ..spec };
        problems.finish().map(|_| Self { log, access, spec, handler_timeout })
    }
}

/// How one thing is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// As it must be.
    Well(String),
    /// Works, but will hurt.
    Doubt(String, String),
    /// Does not work: what, and what to do.
    Ill(String, String),
}

/// All findings, in the order of the message's way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report(Vec<Finding>);

impl Report {
    /// Whether messages can flow. Doubts do not count.
    pub fn is_well(&self) -> bool {
        !self.0.iter().any(|finding| matches!(finding, Finding::Ill(..)))
    }

    /// The findings.
    pub fn findings(&self) -> &[Finding] {
        &self.0
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.0 {
            match finding {
                Finding::Well(what) => writeln!(f, "well   {what}")?,
                Finding::Doubt(what, remedy) => writeln!(f, "doubt  {what}\n       {remedy}")?,
                Finding::Ill(what, remedy) => writeln!(f, "ILL    {what}\n       {remedy}")?,
            }
        }
        f.write_str(if self.is_well() { "messages can flow" } else { "messages cannot flow" })
    }
}

/// Looks at topic, queue, policy, subscription and dead letters.
///
/// # Errors
/// No region is known. What AWS refuses is a finding.
pub async fn examine(settings: &Settings) -> anyhow::Result<Report> {
    let clients = Clients::connect(&settings.access).await?;
    let spec = &settings.spec;
    let mut findings = Vec::new();
    let topic = match topology::topic(&clients, &spec.topic, false).await {
        Ok(topic) => {
            findings.push(Finding::Well(format!("topic {}", topic.arn)));
            Some(topic.arn)
        }
        Err(error) => {
            findings.push(Finding::Ill(
                error.to_string(),
                remedy(error.fault(), "sns:ListTopics and sns:GetTopicAttributes"),
            ));
            None
        }
    };
    let queue = match topology::queue(&clients, spec).await {
        Ok(queue) => {
            findings.push(Finding::Well(format!(
                "queue {} (visibility timeout {:?})",
                queue.arn, queue.visibility
            )));
            Some(queue)
        }
        Err(error) => {
            findings.push(Finding::Ill(
                error.to_string(),
                remedy(error.fault(), "sqs:GetQueueUrl and sqs:GetQueueAttributes"),
            ));
            None
        }
    };
    if let (Some(topic), Some(queue)) = (&topic, &queue) {
        findings.push(policy(&clients, queue, topic).await);
        findings.extend(subscription(&clients, queue, topic).await);
    }
    if let Some(queue) = &queue {
        findings.extend(lease(queue, settings.handler_timeout));
        findings.push(dead_letters(queue));
    }
    Ok(Report(findings))
}

fn remedy(fault: Fault, permissions: &str) -> String {
    match fault {
        Fault::Missing => "create it, or run the consumer once with PROVISION=true".to_owned(),
        Fault::Denied => format!("check the credentials, and that their policy allows {permissions}"),
        Fault::Unreachable | Fault::TimedOut => {
            "check AWS_ENDPOINT_URL, AWS_REGION and the network on the way".to_owned()
        }
        _ => "try again; if it stays, AWS's text above says more".to_owned(),
    }
}

async fn policy(clients: &Clients, queue: &Queue, topic_arn: &str) -> Finding {
    let attributes = match queue_attributes(clients, &queue.url, &[QueueAttributeName::Policy]).await {
        Ok(attributes) => attributes,
        Err(error) => {
            return Finding::Ill(error.to_string(), remedy(error.fault(), "sqs:GetQueueAttributes"));
        }
    };
    let existing = attributes.get(&QueueAttributeName::Policy).map_or("", String::as_str);
    match admitting_policy(existing, &queue.arn, topic_arn) {
        None => Finding::Well("the queue's policy lets the topic in".to_owned()),
        Some(_) => Finding::Ill(
            "the queue's policy does not let the topic in: SNS discards every message for it".to_owned(),
            format!("add this statement: {}", admission(&queue.arn, topic_arn)),
        ),
    }
}

async fn subscription(clients: &Clients, queue: &Queue, topic_arn: &str) -> Vec<Finding> {
    let arn = match topology::subscription(clients, topic_arn, &queue.arn).await {
        Ok(Some(arn)) => arn,
        Ok(None) => {
            let how = format!(
                "aws sns subscribe --topic-arn {topic_arn} --protocol sqs --notification-endpoint {}",
                queue.arn
            );
            return vec![Finding::Ill("the queue is not subscribed to the topic".to_owned(), how)];
        }
        Err(error) => {
            return vec![Finding::Ill(
                error.to_string(),
                remedy(error.fault, "sns:ListSubscriptionsByTopic"),
            )];
        }
    };
    let call = clients.sns.get_subscription_attributes().subscription_arn(&arn).send();
    let attributes = match bounded("GetSubscriptionAttributes", clients.call_timeout, call).await {
        Ok(answer) => answer.attributes.unwrap_or_default(),
        Err(error) => {
            return vec![Finding::Doubt(
                error.to_string(),
                remedy(error.fault, "sns:GetSubscriptionAttributes"),
            )];
        }
    };
    let is = |name: &str, value: &str| attributes.get(name).is_some_and(|v| v.eq_ignore_ascii_case(value));
    let form = if is("RawMessageDelivery", "true") { "raw" } else { "wrapped" };
    let mut findings = vec![Finding::Well(format!("the queue is subscribed to the topic ({form} delivery)"))];
    if is("PendingConfirmation", "true") {
        findings.push(Finding::Ill(
            "the subscription waits for its confirmation".to_owned(),
            format!("confirm {arn}"),
        ));
    }
    if let Some(filter) =
        attributes.get("FilterPolicy").filter(|policy| !policy.is_empty() && *policy != "{}")
    {
        findings.push(Finding::Doubt(
            format!("the subscription has a filter policy: {filter}"),
            "only messages that match it arrive; remove it if that is not meant".to_owned(),
        ));
    }
    findings
}

fn lease(queue: &Queue, handler_timeout: Duration) -> Option<Finding> {
    (queue.visibility < Duration::from_secs(2)).then(|| {
        Finding::Doubt(
            format!("the visibility timeout is {:?}", queue.visibility),
            format!("leases this short are lost to any hiccup; set it to 30 s (handlers may run for {handler_timeout:?} all the same)"),
        )
    })
}

fn dead_letters(queue: &Queue) -> Finding {
    match &queue.redrive {
        None => Finding::Doubt(
            "the queue has no redrive policy".to_owned(),
            "what always fails stays in it and is tried for ever; give it a dead-letter queue".to_owned(),
        ),
        Some(redrive) if redrive.max_receives < 3 => Finding::Doubt(
            format!("maxReceiveCount is {}", redrive.max_receives),
            "a rollout or two may send healthy messages to the dead-letter queue; 5 is a good value"
                .to_owned(),
        ),
        Some(redrive) => Finding::Well(format!(
            "dead letters go to {} after {} receives",
            redrive.dead_letter_arn, redrive.max_receives
        )),
    }
}
