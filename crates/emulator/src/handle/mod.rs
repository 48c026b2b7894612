//! What tests hold: queues and topics that can be filled, looked into and waited for without a client.

mod message;
mod queue;
mod topic;

use crate::{
    model::arn::Scope,
    request::{ACCOUNT, REGION},
};

pub use message::{Counts, History, Message, Place, Published, StoredMessage};
pub use queue::Queue;
pub use topic::Topic;

/// Where queues and topics of handles are.
fn scope() -> Scope {
    Scope::new(ACCOUNT, REGION)
}
