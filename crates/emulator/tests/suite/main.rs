//! The emulator through the AWS SDK for Rust: in process under paused time, and over a socket.

mod cases;
mod delivery;
mod faults;
mod fifo;
mod gateway;
mod queues;
mod support;
mod tasks;
