//! `lifeline doctor`: looks at what must be right before messages flow, changes nothing, and reports what to do.
//!
//! | module | content |
//! | --- | --- |
//! | `args` | the command line, and the command |
//! | `snapshot` | one read of everything that the checks look at |
//! | `checks` | the checks: a stable code and a pure function of the snapshot each |
//! | `check` | what a check is, and what it finds |
//! | `probe` | a marked message, timed hop by hop |
//! | `report` | the findings as text and as JSON |

mod args;
mod check;
mod checks;
mod probe;
mod report;
mod snapshot;

pub use args::{Doctor, DoctorArgs};
pub use check::{Check, Group, Outcome, Status};
pub use checks::all;
pub use report::{Line, Report, Style};
pub use snapshot::{Attributes, Read, Snapshot, Subscription, Target};
