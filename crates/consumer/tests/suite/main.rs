//! The consumer against the emulator, with the real SDK clients: one file a room of the worker, each test named
//! for the promise it holds. One binary, for linking the SDK a dozen times costs minutes; `README.md` says which test
//! answers which acceptance case.
//!
//! Where a test waits for long, time is paused: the runtime jumps to the next timer as soon as nothing else can happen.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

#[path = "../support/mod.rs"]
mod support;

mod acknowledging;
mod batches;
mod binary;
mod breaker;
mod draining;
mod early;
mod evidence;
mod failing;
mod fifo;
mod handlers;
mod inputs;
mod leases;
mod liveness;
mod names;
mod outages;
mod pods;
mod receiving;
mod rejecting;
mod signed;
mod state_machine;
mod supervision;
mod suspects;
mod tls;
mod topology;
mod workers;
