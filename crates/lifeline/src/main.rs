//! lifeline
fn main() {}
