//! One call of AWS: bounded in time, its failure understood, logged and retried with backoff.

pub mod backoff;
mod bounded;
pub mod evidence;
mod fault;
mod outage;
mod progress;

pub use bounded::{CallError, bounded, bounded_with, chain};
pub use evidence::{EntryVerdict, Evidence};
pub use fault::Fault;
pub use outage::Outage;
pub use progress::arriving;
