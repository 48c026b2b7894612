//! x
use crate::results::Results;
pub fn write(_: &Results, _: &std::path::Path, _: Option<&std::path::Path>) -> anyhow::Result<()> { Ok(()) }
