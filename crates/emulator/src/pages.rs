//! Pages of the program around the emulator, served at the emulator's own address to this machine alone.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use http::{Request, Response};

/// A page's response, when it is ready.
pub type Answer = Pin<Box<dyn Future<Output = Response<Bytes>> + Send>>;

/// Pages that are served at the emulator's address: see [`crate::Emulator::serve_pages`].
pub trait Pages: fmt::Debug + Send + Sync + 'static {
    /// Whether a path is that of a page.
    fn has(&self, path: &str) -> bool;

    /// The response to a request for such a path. It came from this machine, with a `Host` and an `Origin` of this machine.
    fn answer(&self, request: &Request<Bytes>) -> Answer;
}

/// Where the pages of one socket are, once there are any.
pub(crate) type Slot = Arc<OnceLock<Arc<dyn Pages>>>;
