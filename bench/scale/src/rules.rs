//! The numbers by which the consumer and the producer work, as their sources have them.
//!
//! They are private there, and a simulation with other numbers would prove nothing: the test compares each with the line
//! that it was taken from.

use std::time::Duration;

/// Messages in one receive, delete or publish: the services' limit, `LARGEST` and `MAX_ENTRIES` in ours.
pub(crate) const BATCH: usize = 10;

/// How long a poller with room for one waits for more.
pub(crate) const ROOM_LINGER: Duration = Duration::from_millis(5);

/// Whether one poller at a time gathers room, or all that wait share what comes free.
pub(crate) const IN_TURN: bool = true;

/// How long a delete waits for company.
pub(crate) const DELETE_LINGER: Duration = Duration::from_millis(3);

/// How long a message waits for its publish to fill: `LINGER`'s default.
pub(crate) const PUBLISH_LINGER: Duration = Duration::from_millis(5);

/// Batches in the air at most.
pub(crate) const IN_AIR: usize = 16;

/// Batches in the air at first.
pub(crate) const FIRST_WINDOW: f64 = 4.0;

/// Bytes in the air, as far as more than one batch is.
pub(crate) const AIR_BYTES: usize = 2 << 20;

/// Bytes in one publish: SNS' default for a topic.
pub(crate) const BATCH_BYTES: usize = 262_144;

#[cfg(test)]
mod tests {
    /// File, what must stand in it, and why.
    const LINES: &[(&str, &str)] = &[
        ("consumer/src/batch.rs", "LARGEST: usize = 10;"),
        ("consumer/src/poller.rs", "ROOM_LINGER: Duration = Duration::from_millis(5);"),
        ("consumer/src/deletes.rs", "LINGER: Duration = Duration::from_millis(3);"),
        ("producer/src/queue.rs", "MAX_ENTRIES: usize = 10;"),
        ("producer/src/publisher.rs", "in_air: 16,"),
        ("producer/src/window.rs", "width: widest.min(4.0)"),
        (
            "producer/src/window.rs",
            "let growth = if self.width < 1.0 { self.width / 8.0 } else { 1.0 / self.width };",
        ),
        ("producer/src/batcher.rs", "MAX_AIR_BYTES: usize = 2 << 20;"),
        ("producer/src/settings.rs", "default: Some(\"5ms\"),"),
    ];

    #[test]
    fn the_rules_are_those_of_the_sources() {
        let crates = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates");
        for (file, line) in LINES {
            let source = std::fs::read_to_string(crates.join(file)).unwrap();
            assert!(
                source.contains(line),
                "{file} has no `{line}` any more: bring the simulation up to date"
            );
        }
    }
}
