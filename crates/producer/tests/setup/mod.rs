//! What the tests share: clients of an endpoint.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test file uses a part of it; a panic is a failed test"
)]

use std::time::Duration;

use messaging::aws::{Access, Clients};
use messaging::topology::TopicRef;
use producer::{Builder, Publisher};

/// Clients of this endpoint, with a call timeout of 1 s.
pub(crate) async fn clients(url: &str) -> Clients {
    let access = Access { call_timeout: Duration::from_secs(1), ..Access::local(url) };
    Clients::connect(&access).await.unwrap()
}

/// A publisher to this topic, with the defaults.
pub(crate) async fn publisher(url: &str, topic: &str) -> Builder {
    Publisher::builder(clients(url).await, TopicRef::Name(topic.to_owned()))
}
