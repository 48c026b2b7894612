//! Generated events: orders as a shop would send them. The same seed gives the same bytes, and event `n` does not depend
//! on those before it, so that `FROM` resumes anywhere.

use std::fmt::Write;

const NAMES: &[&str] = &[
    "Amara Okafor",
    "Łukasz Nowak",
    "María José García",
    "王秀英",
    "Noor el-Din",
    "Jürgen Müller",
    "Zoë O'Brien",
    "प्रिया शर्मा",
    "Siobhán Ní Bhriain",
    "佐藤 健",
    "Ana Paula Gonçalves",
    "Søren Ærø",
];

const COUNTRIES: &[&str] = &["DE", "FR", "NG", "PL", "ES", "IN", "IE", "JP", "BR", "DK", "US", "ZA"];

/// Product, and its price in cents.
const PRODUCTS: &[(&str, &str, u64)] = &[
    ("KB-60-ISO", "Keyboard, 60 %", 8990),
    ("MUG-0.3", "Mug, 0.3 l", 1250),
    ("CBL-C-2M", "Cable USB-C, 2 m", 1499),
    ("LMP-DESK", "Desk lamp", 4900),
    ("NB-A5-DOT", "Notebook A5, dotted", 795),
    ("PEN-G-07", "Gel pen 0.7", 240),
    ("CHR-ERG", "Office chair", 32900),
    ("BAG-15", "Laptop bag 15\\\"", 5995),
];

/// 2026-01-01T00:00:00Z, when event 1 happened; each one comes a second after the one before.
const BEGINNING: u64 = 1_767_225_600;

/// Orders without end.
#[derive(Debug, Clone)]
pub struct Generator {
    seed: u64,
    next: u64,
}

impl Generator {
    /// From event `from`, counted from 1.
    pub fn new(seed: u64, from: u64) -> Self {
        Self { seed, next: from.max(1) }
    }

    /// Event `number`: one line of JSON, some 200 to 500 bytes.
    pub fn event(&self, number: u64) -> String {
        let mut random = fastrand::Rng::with_seed(self.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let customer = random.usize(0..5000);
        let mut text = String::with_capacity(512);
        let id = random.u32(..);
        let name = NAMES[customer % NAMES.len()];
        let country = COUNTRIES[customer / 7 % COUNTRIES.len()];
        let mut amount = 0;
        // writing to a string does not fail
        let _ = write!(
            text,
            r#"{{"id":"ord-{number:08}-{id:08x}","customer":{{"id":"c-{customer:04}","name":"{name}","country":"{country}"}},"lines":["#
        );
        for line in 0..random.usize(1..=4) {
            let (sku, product, cents) = PRODUCTS[random.usize(0..PRODUCTS.len())];
            let quantity = random.u64(1..=3);
            amount += cents * quantity;
            let comma = if line > 0 { "," } else { "" };
            let price = Cents(cents);
            let _ = write!(
                text,
                r#"{comma}{{"sku":"{sku}","name":"{product}","quantity":{quantity},"price":{price}}}"#
            );
        }
        let time = Utc(BEGINNING + number - 1);
        let _ = write!(text, r#"],"amount":{},"currency":"EUR","time":"{time}"}}"#, Cents(amount));
        text
    }
}

impl Iterator for Generator {
    /// The event's number, and its JSON.
    type Item = (u64, String);

    fn next(&mut self) -> Option<(u64, String)> {
        let number = self.next;
        self.next = number.checked_add(1)?;
        Some((number, self.event(number)))
    }
}

struct Cents(u64);

impl std::fmt::Display for Cents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

/// Seconds since 1970 as RFC 3339, by Howard Hinnant's `civil_from_days`.
struct Utc(u64);

impl std::fmt::Display for Utc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (days, second) = (self.0 / 86_400, self.0 % 86_400);
        let z = days + 719_468;
        let (era, day) = (z / 146_097, z % 146_097);
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let shifted = (5 * day + 2) / 153;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        let (year, day) = (year + era * 400 + u64::from(month <= 2), day - (153 * shifted + 2) / 5 + 1);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn the_same_seed_gives_the_same_bytes_from_anywhere() {
        let whole: Vec<_> = Generator::new(7, 1).take(50).collect();
        let resumed: Vec<_> = Generator::new(7, 31).take(20).collect();
        assert_eq!(whole[30..], resumed);
        assert_ne!(Generator::new(8, 1).event(1), Generator::new(7, 1).event(1));
    }

    #[test]
    fn every_event_is_an_order_whose_amount_is_the_sum_of_its_lines() {
        let generator = Generator::new(1, 1);
        for number in 1..2000 {
            let event = generator.event(number);
            let order: Value = serde_json::from_str(&event).unwrap();
            let cents = |value: &Value| (value.as_f64().unwrap() * 100.0).round() as u64;
            let lines = order["lines"].as_array().unwrap();
            let sum: u64 = lines.iter().map(|l| cents(&l["price"]) * l["quantity"].as_u64().unwrap()).sum();
            assert_eq!(cents(&order["amount"]), sum, "{event}");
            assert!(order["customer"]["id"].is_string() && order["id"].is_string() && !event.contains('\n'));
        }
        let first: Value = serde_json::from_str(&generator.event(1)).unwrap();
        assert_eq!(first["time"], "2026-01-01T00:00:00Z");
        assert_eq!(Utc(BEGINNING + 59 * 86_400 + 3661).to_string(), "2026-03-01T01:01:01Z");
    }
}
