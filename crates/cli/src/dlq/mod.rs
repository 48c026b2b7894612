//! `lifeline dlq`: lists the dead letters of a queue, shows one, returns them to the queue, or deletes them.
//!
//! | module | content |
//! | --- | --- |
//! | `args` | the command line, and which command runs |
//! | `list`, `show`, `purge` | the commands of that name |
//! | `redrive` | the command, and the copy of chosen messages: receive, send, delete |
//! | `move_task` | SQS's own move of every message |
//! | `scan` | receives every message once, and hides it meanwhile |
//! | `filter` | which messages are meant |
//! | `letter` | a dead letter, and why it is one |
//! | `place` | the queue and its dead-letter queue |

mod args;
mod filter;
mod letter;
mod list;
mod move_task;
mod place;
mod purge;
mod redrive;
mod scan;
mod show;

pub use args::{Dlq, DlqArgs};

/// The exit code of a command that a signal interrupted: it can be run again. `EX_TEMPFAIL` of `sysexits.h`.
const INTERRUPTED: u8 = 75;
