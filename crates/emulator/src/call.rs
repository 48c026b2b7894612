//! What the actions need to know of a call beside its parameters.

use serde::{Deserialize, Deserializer, de};

use crate::{clock::Time, model::arn::Scope};

/// A call's surroundings.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) scope: Scope,
    pub(crate) now: Time,
    /// `http://host:port` as the caller wrote it: the beginning of queue URLs.
    pub(crate) host: String,
    /// The URL's path: the query protocol may name the queue there.
    pub(crate) path: String,
    /// The key that signed the call; empty when unsigned.
    pub(crate) access_key: String,
    /// `X-Amzn-Trace-Id`.
    pub(crate) trace_header: Option<String>,
}

/// A number in a request: JSON writes a number, the query protocol text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Int(pub(crate) i64);

impl<'de> Deserialize<'de> for Int {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Int;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an integer")
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Int, E> {
                Ok(Int(value))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Int, E> {
                i64::try_from(value).map(Int).map_err(E::custom)
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Int, E> {
                #[allow(clippy::cast_possible_truncation, reason = "checked by the comparison")]
                let whole = value as i64;
                #[allow(clippy::cast_precision_loss, reason = "so is this")]
                let same = whole as f64 == value;
                same.then_some(Int(whole)).ok_or_else(|| E::custom("not an integer"))
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Int, E> {
                value.trim().parse().map(Int).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// A truth in a request: JSON writes a boolean, the query protocol text.
pub(crate) fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Boolean(bool),
        Text(String),
    }
    Ok(match Either::deserialize(deserializer)? {
        Either::Boolean(value) => value,
        Either::Text(text) => text.eq_ignore_ascii_case("true"),
    })
}

/// An empty answer.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub(crate) struct Nothing {}
