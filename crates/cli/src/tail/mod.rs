//! `lifeline tail`: shows what goes through a topic, or how a queue's length changes, without taking a message from anybody.

mod args;
mod lines;
mod queue;
mod topic;

pub use args::{Tail, TailArgs};
