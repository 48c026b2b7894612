//! The emulator through the AWS SDK for Rust: in process under paused time, and over a socket.

#![allow(clippy::unwrap_used, reason = "a panic in a helper is a failed test")]

mod cases;
mod data;
mod delivery;
mod faults;
mod fifo;
mod gateway;
#[path = "../http/mod.rs"]
mod http;
mod memory;
mod odd;
mod queues;
mod reach;
mod record;
mod support;
mod tasks;
mod view;
mod wire;
