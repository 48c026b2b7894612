//! The service around the publisher: settings, input, rate, and the count of every line.

mod args;
mod compose;
mod feeder;
mod input;
mod json_pointer;
mod progress;
mod rejection_log;
mod run;
mod state_file;

pub use args::{Args, Config, PublishArgs, PublishConfig};
pub use compose::{Attributes, Deduplication, Source, Unusable};
pub use input::{Generator, Input, LONGEST_LINE};
pub use json_pointer::{JsonPointer, NotJson};
pub use progress::{Ended, Progress, Summary};
pub use run::{Service, run};
pub use state_file::StateFile;
