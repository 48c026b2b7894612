//! Producers, consumers and the emulator in one process, on time that jumps to the next timer, over a network that fails
//! by seed.
//!
//! A seed decides a [`Plan`]: how the world is set up, what is published when, and which faults happen. [`run`] plays it
//! and checks the invariants at every step and at the end. The same plan gives the same story, to the last line.
//! `docs/testing.md` says how to add a fault or an invariant, and what stays outside.

mod answer;
mod handler;
mod invariants;
mod journal;
mod network;
mod observer;
mod plan;
mod pod;
mod process;
mod run;
mod shop;
mod shrink;

pub use journal::{Journal, Line};
pub use plan::{Fault, Plan, Setting, What};
pub use run::{Report, run};
pub use shrink::shrink;
