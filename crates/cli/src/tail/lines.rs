//! How lines are shown, and how many.

/// How lines are shown, and how many.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lines {
    /// As JSON.
    pub(super) json: bool,
    pub(super) count: u64,
}
