//! Numbers, dates and IP ranges as conditions write them.

use std::net::IpAddr;

/// A number, whole or with a fraction.
pub(crate) fn number(text: &str) -> Option<f64> {
    text.trim().parse::<f64>().ok().filter(|number| number.is_finite())
}

/// A date in ISO 8601 (a day, or a day with a time and `Z` or an offset) or in seconds since 1970, as seconds since 1970.
pub(crate) fn date(text: &str) -> Option<f64> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<i64>()
        && text.len() != 4
    {
        return Some(seconds as f64);
    }
    let (day, time) = match text.split_once(['T', 't']) {
        Some((day, time)) => (day, Some(time)),
        None => (text, None),
    };
    let mut parts = day.split('-');
    let year = digits(parts.next()?, 4)?;
    let month = parts.next().map_or(Some(1), |month| digits(month, 2))?;
    let day = parts.next().map_or(Some(1), |day| digits(day, 2))?;
    if parts.next().is_some() || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let seconds = time.map_or(Some(0.0), time_of_day)?;
    Some((days_since_1970(year, month, day) * 86_400) as f64 + seconds)
}

fn time_of_day(text: &str) -> Option<f64> {
    let (clock, offset) = match text.find(['Z', 'z', '+', '-']) {
        Some(at) => (&text[..at], offset(&text[at..])?),
        None => return None,
    };
    let mut parts = clock.split(':');
    let hour = digits(parts.next()?, 2)?;
    let minute = digits(parts.next()?, 2)?;
    let second = parts.next().map_or(Some(0.0), |second| {
        second.bytes().all(|b| b.is_ascii_digit() || b == b'.').then(|| number(second)).flatten()
    })?;
    if parts.next().is_some() || hour > 24 || minute > 59 || second > 60.0 {
        return None;
    }
    Some((hour * 3600 + minute * 60 - offset) as f64 + second)
}

/// `Z` or `±hh:mm`, in seconds.
fn offset(text: &str) -> Option<i64> {
    if text.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (sign, rest) = text.split_at_checked(1)?;
    let (hours, minutes) = rest.split_once(':')?;
    let seconds = digits(hours, 2)? * 3600 + digits(minutes, 2)? * 60;
    Some(if sign == "-" { -seconds } else { seconds })
}

fn digits(text: &str, count: usize) -> Option<i64> {
    (text.len() == count && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

/// Days from the civil calendar (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Whether an address lies in a range in CIDR notation; a range without a prefix is one address.
pub(crate) fn in_range(address: &str, range: &str) -> Option<bool> {
    let address: IpAddr = address.trim().parse().ok()?;
    let (network, prefix) = match range.trim().split_once('/') {
        Some((network, prefix)) => (network, Some(prefix.parse::<u32>().ok()?)),
        None => (range.trim(), None),
    };
    Some(match (address, network.parse().ok()?) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let shift = 32u32.checked_sub(prefix.unwrap_or(32))?;
            let differs = u32::from(address) ^ u32::from(network);
            differs.checked_shr(shift).unwrap_or(0) == 0
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let shift = 128u32.checked_sub(prefix.unwrap_or(128))?;
            let differs = u128::from(address) ^ u128::from(network);
            differs.checked_shr(shift).unwrap_or(0) == 0
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_in_every_documented_form() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0.0),
            ("2009-01-31T12:00Z", 1_233_403_200.0),
            ("2020-01-01T00:00:01Z", 1_577_836_801.0),
            ("2020-01-01T01:00:01.5+01:00", 1_577_836_801.5),
            ("2020-02-29", 1_582_934_400.0),
            ("2020-03", 1_583_020_800.0),
            ("1577836801", 1_577_836_801.0),
        ] {
            assert_eq!(date(text), Some(seconds), "{text}");
        }
        for text in
            ["", "yesterday", "2020-13-01", "2020-01-01T00:00:00", "2020-01-01T25:00Z", "2020-01-01T1:00Z"]
        {
            assert_eq!(date(text), None, "{text}");
        }
    }

    #[test]
    fn ranges_are_read_for_both_families() {
        assert_eq!(in_range("203.0.113.9", "203.0.113.0/24"), Some(true));
        assert_eq!(in_range("203.0.114.9", "203.0.113.0/24"), Some(false));
        assert_eq!(in_range("203.0.113.9", "203.0.113.9"), Some(true));
        assert_eq!(in_range("203.0.113.9", "0.0.0.0/0"), Some(true));
        assert_eq!(in_range("2001:db8:1234:5678::1", "2001:DB8:1234:5678::/64"), Some(true));
        assert_eq!(in_range("203.0.113.9", "2001:DB8::/32"), Some(false));
        assert_eq!(in_range("203.0.113.9", "203.0.113.0/33"), None);
        assert_eq!(in_range("somewhere", "0.0.0.0/0"), None);
    }
}
