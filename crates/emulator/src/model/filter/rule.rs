//! One condition of a filter policy: a value to be equal to, or an operator.

use std::net::IpAddr;

use serde_json::{Map, Value};

/// A condition on one value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Rule {
    Equals(Value),
    Exists(bool),
    AnythingBut(Vec<Value>),
    AnythingButPrefix(Vec<String>),
    Prefix(String),
    Suffix(String),
    EqualsIgnoreCase(String),
    Wildcard(String),
    Numeric(Vec<(Comparison, f64)>),
    Cidr(IpAddr, u32),
}

/// How two numbers are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Less,
    LessOrEqual,
    Equal,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "<" => Self::Less,
            "<=" => Self::LessOrEqual,
            "=" => Self::Equal,
            ">" => Self::Greater,
            ">=" => Self::GreaterOrEqual,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Equal => "equals",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }

    pub(crate) fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Equal => left == right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
        }
    }
}

impl Rule {
    /// Reads one member of a key's list. The error is SNS's reason.
    pub(crate) fn parse(value: &Value) -> Result<Self, String> {
        match value {
            Value::Array(_) => Err("Match value must be String, number, true, false, or null".into()),
            Value::Object(object) => Self::operator(object),
            simple => Ok(Self::Equals(simple.clone())),
        }
    }

    fn operator(object: &Map<String, Value>) -> Result<Self, String> {
        let mut members = object.iter();
        let (Some((operator, value)), None) = (members.next(), members.next()) else {
            return Err("Only one key allowed in match expression".into());
        };
        let pattern = || {
            value
                .as_str()
                .map(String::from)
                .ok_or_else(|| format!("{operator} match pattern must be a string"))
        };
        match operator.as_str() {
            "prefix" => Ok(Self::Prefix(pattern()?)),
            "suffix" => Ok(Self::Suffix(pattern()?)),
            "equals-ignore-case" => Ok(Self::EqualsIgnoreCase(pattern()?)),
            "wildcard" => Ok(Self::Wildcard(pattern()?)),
            "exists" => value
                .as_bool()
                .map(Self::Exists)
                .ok_or_else(|| "exists match pattern must be either true or false.".into()),
            "anything-but" => Self::anything_but(value),
            "numeric" => Self::numeric(value),
            "cidr" => Self::cidr(value),
            other => Err(format!("Unrecognized match type {other}")),
        }
    }

    fn anything_but(value: &Value) -> Result<Self, String> {
        match value {
            Value::Array(list) => {
                for member in list {
                    Self::parse(member)?;
                }
                Ok(Self::AnythingBut(list.clone()))
            }
            Value::Object(object) => {
                if let Some(other) = object.keys().find(|key| *key != "prefix") {
                    return Err(format!("Unsupported anything-but pattern: {other}"));
                }
                let text = |value: &Value| value.as_str().map(String::from);
                let prefixes = match object.get("prefix") {
                    Some(Value::Array(list)) => list.iter().map(text).collect(),
                    Some(one) => text(one).map(|one| vec![one]),
                    None => None,
                };
                prefixes
                    .map(Self::AnythingButPrefix)
                    .ok_or_else(|| "prefix match pattern must be a string".into())
            }
            simple => Ok(Self::AnythingBut(vec![simple.clone()])),
        }
    }

    fn numeric(value: &Value) -> Result<Self, String> {
        let wrong = |member: &str| Err(format!("Invalid member in numeric match: {member}"));
        let Some(members) = value.as_array().filter(|members| !members.is_empty()) else { return wrong("]") };
        let Some(text) = members[0].as_str() else { return wrong(&members[0].to_string()) };
        let first =
            Comparison::parse(text).ok_or_else(|| format!("Unrecognized numeric range operator: {text}"))?;
        let number = |comparison: Comparison, member: Option<&Value>| {
            member
                .and_then(Value::as_f64)
                .ok_or_else(|| format!("Value of {} must be numeric", comparison.name()))
        };
        let bottom = number(first, members.get(1))?;
        let Some(second) = members.get(2) else { return Ok(Self::Numeric(vec![(first, bottom)])) };
        if !matches!(first, Comparison::Greater | Comparison::GreaterOrEqual) {
            return Err("Too many elements in numeric expression".into());
        }
        let Some(text) = second.as_str() else { return Err(format!("Bad value in numeric range: {second}")) };
        let second = match Comparison::parse(text) {
            Some(comparison @ (Comparison::Less | Comparison::LessOrEqual)) => comparison,
            _ => return Err(format!("Bad numeric range operator: {text}")),
        };
        let top = number(second, members.get(3))?;
        if top <= bottom {
            return Err("Bottom must be less than top".into());
        }
        if members.len() > 4 {
            return Err("Too many terms in numeric range expression".into());
        }
        Ok(Self::Numeric(vec![(first, bottom), (second, top)]))
    }

    fn cidr(value: &Value) -> Result<Self, String> {
        let text = value.as_str().ok_or("prefix match pattern must be a string")?;
        let Some((address, mask)) = text.split_once('/').filter(|(_, mask)| !mask.contains('/')) else {
            return Err("Malformed CIDR, one '/' required".into());
        };
        let bits: u32 = mask.parse().map_err(|_| "Malformed CIDR, mask bits must be an integer")?;
        let odd = || format!("Nonstandard IP address: {address}");
        let address: IpAddr = address.parse().map_err(|_| odd())?;
        if bits > if address.is_ipv4() { 32 } else { 128 } {
            return Err(odd());
        }
        Ok(Self::Cidr(address, bits))
    }
}

/// Whether an address is in a network.
pub(crate) fn is_in_network(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            u32::from(address) & mask == u32::from(network) & mask
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            u128::from(address) & mask == u128::from(network) & mask
        }
        _ => false,
    }
}

/// Whether a text fits a pattern in which `*` stands for any characters.
pub(crate) fn fits_wildcard(text: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}
