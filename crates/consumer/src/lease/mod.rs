//! Leases: for how long each received message is ours, and what becomes of it.
//!
//! | | |
//! | --- | --- |
//! | `state` | the state machine of one lease: no clock, no I/O |
//! | `owner` | the one task that owns all leases and makes all calls about them |
//! | `handle` | how the other parts reach the owner |
//! | `view` | what a handler sees of its lease |
//!
//! # What an extension proves
//!
//! An extension that SQS refuses proves that the message is deleted or another's. One that SQS accepts proves that it is not
//! deleted; and in a FIFO queue, that it is still ours. A standard queue accepts an older receipt too, and changes the lease of
//! whoever has the message now (LocalStack's `test_terminate_visibility_timeout_after_receive`, validated against AWS).
//!
//! So a lease that is over by our own count is lost, without asking. But a message whose response travelled for longer than its
//! lease is asked for, and its handler starts unless that is refused: over a slow link every message is like that, and dropping
//! them would send all to the dead-letter queue without a handler having seen them. Another consumer may have it too by then, as
//! it may whenever a standard queue hands a message out twice.
//!
//! To delete it afterwards loses nothing. A message is deleted only when our own handler has succeeded with it; what an older
//! receipt then takes away is work that the other consumer does once more: its next extension is refused, its handler is
//! cancelled, and nobody misses the retry if it fails. AWS's text says that an older receipt may also delete nothing, and a FIFO queue
//! refuses it; then the message is handled again. Not to delete would have all of them handled again.

pub(crate) mod handle;
pub(crate) mod owner;
pub(crate) mod state;
pub(crate) mod view;
