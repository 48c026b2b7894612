//! One HTTP/1.1 client over TCP and TLS for the AWS SDK, trace export and the consumer's `http` handler.
//!
//! hyper's pooled client with what none of its users may go without:
//!
//! | property | where |
//! | --- | --- |
//! | connecting is bounded, name look-up, proxy and TLS handshake included | `connect` |
//! | the addresses of a name are raced, so that one that swallows packets costs a quarter of a second | `dial` |
//! | names that are surely absolute skip the search domains; an error for one family does not hide the other | `resolve` |
//! | proxies by `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` | `proxy` |
//! | the system's certificates and `AWS_CA_BUNDLE`, read again when a handshake fails for its issuer | `trust` |
//! | idle connections are closed before NATs and load balancers forget them, and all have a maximum age | `client` |
//!
//! No HTTP/2: SNS and SQS do not speak it, and it is a twentieth of a binary.

#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

mod client;
mod connect;
mod dial;
mod proxy;
mod resolve;
mod stream;
mod trust;

pub use client::{Builder, Client, ClientError};
pub use connect::Connect;
pub use proxy::Proxies;
pub use resolve::{Resolve, Resolving};
pub use stream::Addresses;
pub use trust::Trust;
