//! The kinds of values that settings have: durations, numbers, words, addresses.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use super::checked::Accept;

/// A duration within bounds: `250ms`, `20s`, `5m`, `1h`.
#[must_use]
pub fn duration(range: RangeInclusive<Duration>) -> Accept<Duration> {
    let (from, to) = (show_duration(*range.start()), show_duration(*range.end()));
    Accept::new(format!("a duration from {from} to {to}, such as 250ms, 20s or 5m"), move |text| {
        parse_duration(text).filter(|duration| range.contains(duration))
    })
}

/// A duration of whole seconds within bounds.
#[must_use]
pub fn whole_seconds(range: RangeInclusive<Duration>) -> Accept<Duration> {
    let (from, to) = (range.start().as_secs(), range.end().as_secs());
    Accept::new(format!("whole seconds from {from}s to {to}s"), move |text| {
        parse_duration(text).filter(|duration| range.contains(duration) && duration.subsec_nanos() == 0)
    })
}

/// A whole number within bounds.
#[must_use]
pub fn integer<T>(range: RangeInclusive<T>) -> Accept<T>
where
    T: FromStr + PartialOrd + Display + Send + Sync + 'static,
{
    let expected = format!("a whole number from {} to {}", range.start(), range.end());
    // no bound to speak of
    let expected = expected.trim_end_matches(&format!(" to {}", u64::MAX)).to_owned();
    Accept::new(expected, move |text| text.parse().ok().filter(|number| range.contains(number)))
}

/// A number of events per second up to `most`; `unlimited` (or `0`) is infinity.
#[must_use]
pub fn rate(most: f64) -> Accept<f64> {
    Accept::new(format!("a number from 0.001 to {most}, or unlimited"), move |text| {
        if text.eq_ignore_ascii_case("unlimited") {
            return Some(f64::INFINITY);
        }
        match text.parse() {
            Ok(0.0) => Some(f64::INFINITY),
            Ok(rate) => (0.001..=most).contains(&rate).then_some(rate),
            Err(_) => None,
        }
    })
}

/// `true` or `false`; also `1` and `0`, `on` and `off`, `yes` and `no`.
#[must_use]
pub fn boolean() -> Accept<bool> {
    Accept::new("true or false", |text| match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "on" | "yes" => Some(true),
        "false" | "0" | "off" | "no" => Some(false),
        _ => None,
    })
}

/// One of a few words.
#[must_use]
pub fn choice<T: Clone + Send + Sync + 'static>(options: &[(&'static str, T)]) -> Accept<T> {
    let words: Vec<_> = options.iter().map(|(word, _)| *word).collect();
    let options = options.to_vec();
    let parse = move |text: &str| {
        options.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)).map(|(_, value)| value.clone())
    };
    Accept::new(words.join(" or "), parse).options(words)
}

/// An IP address and a port to listen on: `0.0.0.0:5000`, `[::]:5000`.
#[must_use]
pub fn address() -> Accept<SocketAddr> {
    Accept::new("an IP address and a port, such as 0.0.0.0:5000 or [::]:5000", |text| text.parse().ok())
}

/// Any text.
#[must_use]
pub fn text() -> Accept<String> {
    Accept::new("text", |text| Some(text.to_owned()))
}

/// An `http://` or `https://` URL.
#[must_use]
pub fn url() -> Accept<String> {
    Accept::new("a URL that begins with http:// or https://", |text| {
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"))?;
        let clean = !text.contains(|c: char| c.is_whitespace() || c.is_control());
        (clean && !rest.is_empty() && !rest.starts_with(['/', ':', '?', '#'])).then(|| text.to_owned())
    })
}

/// Reads `250ms`, `20s`, `5m`, `1h`, and a plain `0`: whole numbers only.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(3600).map(Duration::from_secs),
        _ => None,
    }
}

/// As [`parse_duration`] reads it, in the largest unit that fits.
fn show_duration(duration: Duration) -> String {
    match (duration.as_secs(), duration.subsec_millis()) {
        (_, 1..) => format!("{}ms", duration.as_millis()),
        (0, 0) => "0s".to_owned(),
        (seconds, 0) if seconds % 3600 == 0 => format!("{}h", seconds / 3600),
        (seconds, 0) if seconds % 60 == 0 => format!("{}m", seconds / 60),
        (seconds, 0) => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use clap::builder::TypedValueParser;

    use super::super::checked::Problems;
    use super::*;

    /// The value, or what was expected.
    fn read<T: Clone + Send + Sync + 'static>(accept: &Accept<T>, text: &str) -> Result<T, String> {
        let checked = accept.parse_ref(&clap::Command::new("test"), None, text.as_ref()).unwrap();
        let mut problems = Problems::default();
        let value = problems.optional(Some(checked));
        problems.finish().map_err(|problems| problems.to_string())?;
        Ok(value.unwrap())
    }

    #[test]
    fn durations_have_units_and_bounds() {
        let (ms, s) = (Duration::from_millis, Duration::from_secs);
        let accept = duration(ms(100)..=s(3600));
        for (text, expected) in [("250ms", ms(250)), ("20s", s(20)), ("5m", s(300)), ("1h", s(3600))] {
            assert_eq!(read(&accept, text), Ok(expected), "{text}");
        }
        for text in
            ["", "0", "99ms", "2h", "20", "1.5s", "-1s", "5 m", "1d", "18446744073709551615m", "s", "ms"]
        {
            let error = read(&accept, text).unwrap_err();
            assert!(
                error.ends_with("expected a duration from 100ms to 1h, such as 250ms, 20s or 5m"),
                "{error}"
            );
        }
        assert_eq!(read(&duration(Duration::ZERO..=s(10)), "0"), Ok(Duration::ZERO));
        let wait = whole_seconds(Duration::ZERO..=s(20));
        assert_eq!(read(&wait, "20s"), Ok(s(20)));
        assert!(read(&wait, "1500ms").unwrap_err().ends_with("expected whole seconds from 0s to 20s"));
    }

    #[test]
    fn numbers_have_bounds() {
        assert_eq!(read(&integer::<usize>(1..=256), "256"), Ok(256));
        for text in ["0", "257", "1.0", "-1", "", "1e2", "0x10", "99999999999999999999999"] {
            assert!(read(&integer::<usize>(1..=256), text).is_err(), "{text}");
        }
        assert!(
            read(&integer::<u64>(1..=u64::MAX), "0").unwrap_err().ends_with("expected a whole number from 1")
        );
    }

    #[test]
    fn a_rate_may_be_unlimited() {
        for text in ["unlimited", "UNLIMITED", "0", "0.0"] {
            assert_eq!(read(&rate(1e6), text), Ok(f64::INFINITY), "{text}");
        }
        assert_eq!(read(&rate(1e6), "0.5"), Ok(0.5));
        for text in ["-1", "nan", "inf", "1e7", "fast", ""] {
            let error = read(&rate(1e6), text).unwrap_err();
            assert!(error.ends_with("expected a number from 0.001 to 1000000, or unlimited"), "{error}");
        }
    }

    #[test]
    fn words_addresses_and_urls() {
        let word = choice(&[("log", 1), ("file", 2)]);
        assert_eq!((read(&word, "file"), read(&word, "LOG")), (Ok(2), Ok(1)));
        assert!(read(&word, "x").unwrap_err().ends_with("expected log or file"));
        assert_eq!((read(&boolean(), "on"), read(&boolean(), "False")), (Ok(true), Ok(false)));
        assert!(read(&address(), "[::]:5000").is_ok() && read(&address(), "localhost:5000").is_err());
        for text in ["http://localhost:4566", "https://[::1]/x?y"] {
            assert!(read(&url(), text).is_ok(), "{text}");
        }
        for text in
            ["localhost:4566", "http://", "http:///path", "ftp://x", "http://a b", "http://:80", "http://x\n"]
        {
            assert!(read(&url(), text).is_err(), "{text}");
        }
    }
}
