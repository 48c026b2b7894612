//! The topology: topic, queue, dead-letter queue, the policy that lets the topic in, and the subscription.
//!
//! With `PROVISION` what is missing is created, at start and again when it vanishes; what exists is never changed,
//! but for one statement added to a queue's policy beside the others that it has (ThreeDotsLabs/watermill-aws
//! overwrites them, and the first topic silently stops delivering). Without it, what is missing is an error
//! that says what to do. Every function here may be called again at any time.

mod error;
mod find_topic;
mod inspect;
mod names;
mod place;
mod policy;
mod provision;

pub use error::TopologyError;
pub use inspect::{
    Queue, Redrive, describe, has_subscription, look_up, queue_attributes, subscription, topic_attributes,
};
pub use names::{QueueRef, QueueSpec, TopicRef, arn_account, arn_name, dead_letter_name};
pub use place::Place;
pub use policy::topic_may_send;
pub use provision::{FoundTopic, check_topic_region, connect, find_queue, queue, topic};
