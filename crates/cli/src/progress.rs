//! The progress of long work: a bar on standard error where that is a terminal, and nothing elsewhere.

use indicatif::{ProgressBar, ProgressStyle};

/// Work whose amount is known.
#[must_use]
pub(crate) fn counted(total: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_bar} {pos} of {len}  {eta} left");
    let bar = ProgressBar::new(u64::try_from(total).unwrap_or(u64::MAX));
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
