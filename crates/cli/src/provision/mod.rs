//! `lifeline provision`: makes topic, queue, dead-letter queue, queue policy and subscription, or prints what would make them.
//!
//! | module | content |
//! | --- | --- |
//! | `args` | the command line, and the command |
//! | `plan` | what is missing, as a pure function of what there is |
//! | `print` | one topology in four languages |
//! | `model` | the topology that is printed |
//! | `sweep` | removes what a killed `lifeline tail` left |

mod args;
mod model;
mod plan;
mod print;
mod sweep;

pub use args::{Provision, ProvisionArgs};
