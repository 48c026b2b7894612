//! lifeline
