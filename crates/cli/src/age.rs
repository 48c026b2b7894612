//! Lengths of time as people write them.

use std::time::{Duration, SystemTime};

use aws_sdk_sqs::primitives::{DateTime, DateTimeFormat};

/// The two largest units of a length of time: `12 s`, `5 min`, `3 h 20 min`, `2 d 3 h`.
///
/// ```
/// use std::time::Duration;
/// assert_eq!(lifeline_cli::age::of(Duration::from_secs(97_500)), "1 d 3 h");
/// ```
#[must_use]
pub fn of(length: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    let seconds = length.as_secs();
    let Some(largest) = UNITS.iter().position(|(size, _)| seconds >= *size) else { return "0 s".to_owned() };
    let (size, unit) = UNITS[largest];
    let first = format!("{} {unit}", seconds / size);
    match UNITS.get(largest + 1) {
        Some((next, unit)) if seconds % size / next > 0 => {
            format!("{first} {} {unit}", seconds % size / next)
        }
        _ => first,
    }
}

/// A moment as RFC 3339 writes it, in UTC.
#[must_use]
pub fn timestamp(moment: SystemTime) -> String {
    DateTime::from(moment).fmt(DateTimeFormat::DateTime).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_largest_units_are_shown() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3601, "1 h"),
            (12_000, "3 h 20 min"),
            (86_400, "1 d"),
            (183_600, "2 d 3 h"),
        ] {
            assert_eq!(of(Duration::from_secs(seconds)), text);
        }
    }
}
