//! The two hot codecs, written in one pass in the place of the SDK's.

mod publish;
mod receive;

pub(crate) use publish::WriteInOnePass;
pub(crate) use receive::ReadInOnePass;
