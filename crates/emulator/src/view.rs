//! What an emulator holds, for a person who looks: queues, topics and messages, read without receiving them, and calls
//! that meet no fault.

use std::{collections::HashMap, sync::Arc, time::Duration};

use serde_json::Value;

use crate::{
    action::Action,
    call::Call,
    clock::Time,
    emulator::Emulator,
    error::AwsError,
    handle::{Counts, Place},
    model::{arn::Scope, attribute::Attribute, message, message::State, queue, topic},
    protocol::{Input, Output, Protocol},
    request::{ACCOUNT, Parsed, REGION},
};

/// A queue, as it stands now.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct QueueView {
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// Whether it is a FIFO queue.
    pub fifo: bool,
    /// How many messages it holds, by where they stand.
    pub counts: Counts,
    /// How many messages were ever put into it, since the process started or since an unknown number before.
    pub sent: u64,
    /// Age of its oldest message.
    pub oldest: Option<Duration>,
    /// The name of its dead-letter queue, and after how many receives a message moves there.
    pub dead_letters: Option<(String, u32)>,
    /// Names of queues that have it for their dead-letter queue.
    pub dead_letters_of: Vec<String>,
    /// How long a received message is invisible.
    pub visibility_timeout: Duration,
}

/// A topic, as it stands now.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TopicView {
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// Whether it is a FIFO topic.
    pub fifo: bool,
    /// Its subscriptions, in the order in which they were made.
    pub subscriptions: Vec<SubscriptionView>,
}

/// A subscription, as it stands now.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SubscriptionView {
    /// `sqs` for a queue.
    pub protocol: String,
    /// Where the messages go: a queue's ARN.
    pub endpoint: String,
    /// Whether delivery is raw.
    pub raw: bool,
    /// Its filter policy.
    pub filter_policy: Option<String>,
}

/// A message in a queue, as it stands now.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MessageView {
    /// Where the next page begins: see [`Emulator::messages`].
    pub cursor: (u64, u64),
    /// SQS's id.
    pub id: String,
    /// The body; SNS's envelope unless delivery is raw.
    pub body: Arc<str>,
    /// Message attributes: name, type, and value, in base64 if it is bytes.
    pub attributes: Vec<(String, String, String)>,
    /// `ApproximateReceiveCount`.
    pub receive_count: u32,
    /// Message group.
    pub group: Option<String>,
    /// Since it was sent.
    pub age: Duration,
    /// Where it stands.
    pub place: Place,
    /// When it becomes visible by itself, if it is not.
    pub visible_in: Option<Duration>,
    /// The name of the queue that it was a dead letter of.
    pub dead_letter_of: Option<String>,
}

/// A fault in force.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FaultView {
    /// Its number, for [`Emulator::take_back`].
    pub id: u64,
    /// What it does, in the form that [`crate::Fault`] is read from.
    pub text: String,
    /// How many calls it met.
    pub hits: u64,
}

/// Why a call was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
#[non_exhaustive]
pub struct Refused {
    /// AWS's code, such as `InvalidParameter`.
    pub code: String,
    /// What AWS says.
    pub message: String,
}

impl From<AwsError> for Refused {
    fn from(error: AwsError) -> Self {
        Self { code: error.code.into_owned(), message: error.message }
    }
}

impl Emulator {
    /// All queues of all accounts and regions, by ARN.
    #[must_use]
    pub fn queues(&self) -> Vec<QueueView> {
        let now = self.service.clock.now();
        let mut world = self.service.world();
        world.run_move_tasks(now);
        for queue in world.queues.values_mut() {
            queue.advance(now);
        }
        let mut sources = HashMap::<&str, Vec<String>>::new();
        for queue in world.queues.values() {
            if let Some(policy) = &queue.settings.redrive {
                sources.entry(&policy.target).or_default().push(queue.name.clone());
            }
        }
        world.queues.values().map(|queue| queue_view(queue, &sources, now)).collect()
    }

    /// All topics of all accounts and regions, by ARN.
    #[must_use]
    pub fn topics(&self) -> Vec<TopicView> {
        let world = self.service.world();
        let view = |topic: &topic::Topic| TopicView {
            name: name_of(&topic.arn),
            arn: topic.arn.clone(),
            fifo: topic.fifo,
            subscriptions: topic
                .subscriptions
                .iter()
                .filter_map(|arn| world.subscriptions.get(arn))
                .map(|subscription| SubscriptionView {
                    protocol: subscription.protocol.clone(),
                    endpoint: subscription.endpoint.clone(),
                    raw: subscription.raw(),
                    filter_policy: subscription.attributes.get("FilterPolicy").cloned(),
                })
                .collect(),
        };
        world.topics.values().map(view).collect()
    }

    /// At most `most` messages of a queue, the oldest first, after the one with the cursor `after`. Nothing is received:
    /// no receive count, visibility timeout or order changes. `None` if there is no such queue.
    #[must_use]
    pub fn messages(
        &self,
        queue_arn: &str,
        after: Option<(u64, u64)>,
        most: usize,
    ) -> Option<Vec<MessageView>> {
        let now = self.service.clock.now();
        let mut world = self.service.world();
        world.run_move_tasks(now);
        let queue = world.queues.get_mut(queue_arn)?;
        queue.advance(now);
        let after = after.map(|(time, key)| (Time(time), key));
        Some(queue.by_age(after).take(most).map(|(at, message)| message_view(at, message, now)).collect())
    }

    /// The faults in force.
    #[must_use]
    pub fn faults(&self) -> Vec<FaultView> {
        let list = self.service.script().list();
        list.into_iter().map(|(id, text, hits)| FaultView { id, text, hits }).collect()
    }

    /// Takes one fault back. Whether there was such a fault.
    pub fn take_back(&self, id: u64) -> bool {
        self.service.script().remove(id)
    }

    /// Carries a call out for a person who must be able to act during an outage: it meets no fault, waits for nothing
    /// and is not counted. `request` has the parameters in the JSON protocol's form, also those of SNS.
    ///
    /// # Errors
    /// What AWS refuses.
    pub async fn call(&self, action: Action, request: Value) -> Result<Value, Refused> {
        let call = Call {
            scope: Scope::new(ACCOUNT, REGION),
            now: self.service.clock.now(),
            host: self.service.url().into(),
            path: "/".into(),
            access_key: String::new(),
            trace_header: None,
        };
        let parsed = Parsed { protocol: Protocol::Json, action, call, input: Input::Tree(request) };
        let answered = self.service.once(parsed, true).await;
        self.service.touch();
        match answered? {
            Output::Tree(tree) => Ok(tree),
            Output::Json(bytes) => Ok(serde_json::from_slice(&bytes).unwrap_or_default()),
        }
    }
}

fn name_of(arn: &str) -> String {
    arn.rsplit(':').next().unwrap_or_default().to_owned()
}

fn queue_view(queue: &queue::Queue, sources: &HashMap<&str, Vec<String>>, now: Time) -> QueueView {
    let queue::Counts { visible, in_flight, delayed } = queue.counts();
    QueueView {
        name: queue.name.clone(),
        arn: queue.arn.clone(),
        fifo: queue.settings.fifo,
        counts: Counts { visible, in_flight, delayed },
        sent: queue.next_key() - 1,
        oldest: queue.by_age(None).next().map(|(_, message)| now.since(message.sent)),
        dead_letters: queue
            .settings
            .redrive
            .as_ref()
            .map(|policy| (name_of(&policy.target), policy.max_receives)),
        dead_letters_of: sources.get(&*queue.arn).cloned().unwrap_or_default(),
        visibility_timeout: Duration::from_secs(queue.settings.visibility),
    }
}

fn message_view((time, key): (Time, u64), message: &message::Message, now: Time) -> MessageView {
    let attribute = |(name, attribute): (&String, &Attribute)| {
        let raw = attribute.raw();
        (name.clone(), attribute.data_type.clone(), raw.string_value.or(raw.binary_value).unwrap_or_default())
    };
    MessageView {
        cursor: (time.0, key),
        id: message.id.clone(),
        body: Arc::clone(&message.body),
        attributes: message.attributes.iter().map(attribute).collect(),
        receive_count: message.receives,
        group: message.group.as_deref().map(str::to_owned),
        age: now.since(message.sent),
        place: match message.state {
            State::Visible => Place::Visible,
            State::Delayed { .. } => Place::Delayed,
            State::InFlight { .. } => Place::InFlight,
        },
        visible_in: message.state.until().map(|until| until.since(now)),
        dead_letter_of: message.dead_letter_source.as_deref().map(name_of),
    }
}
