//! Pages of the program around the emulator, served at the emulator's own address.

use std::{
    fmt,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use http::{Request, Response};

/// A page's response, when it is ready.
pub type Answer = Pin<Box<dyn Future<Output = Response<Bytes>> + Send>>;

/// Pages that are served at the emulator's address: see [`crate::Emulator::serve_pages`].
pub trait Pages: fmt::Debug + Send + Sync + 'static {
    /// The response to a request that came from `peer`, whose `Host` and `Origin` the emulator has accepted; `None` if it
    /// is for none of the pages.
    fn answer(&self, request: &Request<Bytes>, peer: SocketAddr) -> Option<Answer>;
}

/// Where the pages of one socket are, once there are any.
pub(crate) type Slot = Arc<OnceLock<Arc<dyn Pages>>>;
