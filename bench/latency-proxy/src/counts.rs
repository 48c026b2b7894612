//! Counts calls by action, connections and bytes, and returns them over HTTP.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

const PATH: &str = "/_counts";

/// The counts at one time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls by AWS action, for example `ReceiveMessage`; `other` for requests without one.
    pub calls: BTreeMap<String, u64>,
    /// Connections that were opened.
    pub opened: u64,
    /// Maximum number of connections open at the same time.
    pub most_open: u64,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
}

impl Counts {
    /// Calls of one action.
    pub fn of(&self, action: &str) -> u64 {
        self.calls.get(action).copied().unwrap_or(0)
    }

    /// The counts as JSON.
    pub fn to_json(&self) -> Value {
        json!({
            "calls": self.calls,
            "total": self.calls.values().sum::<u64>(),
            "connections": {"opened": self.opened, "most_open": self.most_open},
            "bytes": {"in": self.bytes_in, "out": self.bytes_out},
        })
    }
}

/// Counts while the proxy runs.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    counts: Mutex<Counts>,
    open: AtomicU64,
}

impl Counted {
    pub(crate) fn read(&self) -> Counts {
        self.counts().clone()
    }

    pub(crate) fn take(&self) -> Counts {
        let mut counts = self.counts();
        let taken = std::mem::take(&mut *counts);
        counts.most_open = self.open.load(Ordering::Relaxed);
        taken
    }

    pub(crate) fn call(&self, action: &str) {
        let mut counts = self.counts();
        match counts.calls.get_mut(action) {
            Some(count) => *count += 1,
            None => drop(counts.calls.insert(action.to_owned(), 1)),
        }
    }

    pub(crate) fn bytes_in(&self, bytes: usize) {
        self.counts().bytes_in += bytes as u64;
    }

    pub(crate) fn bytes_out(&self, bytes: usize) {
        self.counts().bytes_out += bytes as u64;
    }

    /// A connection is open until this is dropped.
    pub(crate) fn connection(self: &Arc<Self>) -> Open {
        let mut counts = self.counts();
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        counts.opened += 1;
        counts.most_open = counts.most_open.max(open);
        Open(Arc::clone(self))
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct Open(Arc<Counted>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The response to a connection's first bytes if they request the counts: `GET` returns them, `DELETE` resets them too.
pub(crate) fn respond(first: &[u8], counted: &Counted) -> Option<Vec<u8>> {
    let line = first.split(|byte| *byte == b'\r').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    let (method, path) = (words.next()?, words.next()?);
    if path != PATH {
        return None;
    }
    let counts = match method {
        "GET" => counted.read(),
        "DELETE" => counted.take(),
        _ => {
            return Some(
                b"HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_vec(),
            );
        }
    };
    let body = format!("{}\n", counts.to_json());
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    Some([head, body].concat().into_bytes())
}
