//! Leases: for how long each received message is ours, and what becomes of it.
//!
//! | | |
//! | --- | --- |
//! | `state` | the state machine of one lease: no clock, no I/O |
//! | `owner` | the one task that owns all leases and makes all calls about them |
//! | `handle` | how the other parts reach the owner |
//! | `view` | what a handler sees of its lease |

pub(crate) mod handle;
pub(crate) mod owner;
pub(crate) mod state;
pub(crate) mod view;
