//! Settings: clap's arguments, whose values are checked all at once.
//!
//! A setting `MAX_IN_FLIGHT` is the environment variable of that name and the flag `--max-in-flight`; the flag wins. Its
//! type is [`Checked`], its value parser one of the functions here, and [`Problems`] collects what is wrong with any of
//! them.

mod checked;
mod environment;
mod values;

pub use checked::{Accept, Checked, Problems};
pub use environment::read_environment;
pub use values::{
    address, boolean, choice, duration, integer, parse_duration, rate, text, url, whole_seconds,
};
