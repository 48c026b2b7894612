//! Message attributes: their form on the wire, their digest, and what SQS and SNS each accept.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

use crate::error::{AwsError, Result, sns, sqs};

/// Attributes by name, in the order that their digest needs.
pub(crate) type Attributes = BTreeMap<String, Attribute>;

/// One attribute, checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attribute {
    pub(crate) data_type: String,
    pub(crate) value: Value,
}

/// An attribute's value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Value {
    Text(String),
    Binary(Vec<u8>),
}

/// One attribute as it stands in a request.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Raw {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) data_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) string_value: Option<String>,
    /// In base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) binary_value: Option<String>,
}

impl Attribute {
    pub(crate) fn raw(&self) -> Raw {
        let mut raw = Raw { data_type: Some(self.data_type.clone()), ..Raw::default() };
        match &self.value {
            Value::Text(text) => raw.string_value = Some(text.clone()),
            Value::Binary(bytes) => raw.binary_value = Some(STANDARD.encode(bytes)),
        }
        raw
    }

    fn size(&self) -> usize {
        self.data_type.len()
            + match &self.value {
                Value::Text(text) => text.len(),
                Value::Binary(bytes) => bytes.len(),
            }
    }
}

/// Names, types and values: what counts towards a message's size.
pub(crate) fn size(attributes: &Attributes) -> usize {
    attributes.iter().map(|(name, attribute)| name.len() + attribute.size()).sum()
}

/// `MD5OfMessageAttributes` of these; `None` without attributes.
pub(crate) fn digest<'a>(
    attributes: impl IntoIterator<Item = (&'a String, &'a Attribute)>,
) -> Option<String> {
    fn add(hash: &mut Md5, bytes: &[u8]) {
        hash.update(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
        hash.update(bytes);
    }
    let mut hash = Md5::new();
    let mut any = false;
    for (name, attribute) in attributes {
        any = true;
        add(&mut hash, name.as_bytes());
        add(&mut hash, attribute.data_type.as_bytes());
        match &attribute.value {
            Value::Text(text) => {
                hash.update([1]);
                add(&mut hash, text.as_bytes());
            }
            Value::Binary(bytes) => {
                hash.update([2]);
                add(&mut hash, bytes);
            }
        }
    }
    any.then(|| hex(&hash.finalize()))
}

/// The MD5 of a text, in hexadecimal.
pub(crate) fn md5(text: &str) -> String {
    hex(&Md5::digest(text.as_bytes()))
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Whether SQS takes this text as a body or value: no control characters but tab, line feed and carriage return.
pub(crate) fn is_valid_text(text: &str) -> bool {
    text.chars().all(|c| c >= ' ' && !matches!(c, '\u{fffe}' | '\u{ffff}') || matches!(c, '\t' | '\n' | '\r'))
}

fn has_known_prefix(data_type: &str) -> bool {
    ["String", "Number", "Binary"].iter().any(|prefix| data_type.starts_with(prefix))
}

/// Reads the value of an attribute whose type is known: text for String and Number, base64 for Binary.
fn value(data_type: &str, raw: &Raw) -> Option<Value> {
    if data_type.starts_with("Binary") {
        let bytes = STANDARD.decode(raw.binary_value.as_deref()?).ok()?;
        (!bytes.is_empty()).then_some(Value::Binary(bytes))
    } else {
        raw.string_value.clone().filter(|text| !text.is_empty()).map(Value::Text)
    }
}

/// Checks the attributes of an SQS message as SQS does.
pub(crate) fn for_sqs(raw: &BTreeMap<String, Raw>) -> Result<Attributes> {
    if raw.len() > 10 {
        let text = format!("Number of message attributes [{}] exceeds the allowed maximum [10].", raw.len());
        return Err(sqs::invalid_parameter(text));
    }
    raw.iter().map(|(name, raw)| Ok((name.clone(), one_for_sqs(name, raw)?))).collect()
}

/// Checks system attributes, whose names are reserved.
pub(crate) fn for_sqs_system(raw: &BTreeMap<String, Raw>) -> Result<Attributes> {
    raw.iter().map(|(name, raw)| Ok((name.clone(), one_for_sqs("system", raw)?))).collect()
}

fn one_for_sqs(name: &str, raw: &Raw) -> Result<Attribute> {
    if name.len() >= 256 {
        return Err(sqs::invalid_parameter("Message (user) attribute names must be shorter than 256 Bytes"));
    }
    let accepted = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '\u{c0}'..='\u{17f}');
    if !name.chars().all(accepted) {
        return Err(sqs::invalid_parameter(
            "Message (user) attributes name can only contain upper and lower score characters, digits, periods, \
             hyphens and underscores. ",
        ));
    }
    let lower = name.to_lowercase();
    if lower.starts_with("aws.")
        || lower.starts_with("amazon.")
        || name.starts_with('.')
        || name.ends_with('.')
    {
        return Err(sqs::invalid_parameter(
            "You can't use message attribute names beginning with 'AWS.' or 'Amazon.'. These strings are reserved \
             for internal use. Additionally, they cannot start or end with '.'.",
        ));
    }
    let Some(data_type) = raw.data_type.as_deref().filter(|text| !text.is_empty()) else {
        return Err(sqs::invalid_parameter("Missing required parameter DataType"));
    };
    if !has_known_prefix(data_type) {
        return Err(sqs::invalid_parameter(format!(
            "Type for parameter MessageAttributes.Attribute_name.DataType must be prefixed with \"String\", \
             \"Binary\", or \"Number\", but was: {data_type}"
        )));
    }
    if data_type.len() >= 256 {
        return Err(sqs::invalid_parameter("Message (user) attribute types must be shorter than 256 Bytes"));
    }
    let Some(value) = value(data_type, raw) else {
        let kind = if data_type.starts_with("Binary") { "Binary" } else { "String" };
        return Err(sqs::invalid_parameter(format!(
            "Message (user) attribute '{name}' must contain a non-empty value of type '{kind}'."
        )));
    };
    if let Value::Text(text) = &value {
        if !is_valid_text(text) {
            return Err(sqs::invalid_parameter(sqs::invalid_contents().message));
        }
        if data_type.starts_with("Number") && text.trim().parse::<f64>().is_err() {
            return Err(sqs::invalid_parameter(format!(
                "Can't cast the value of message (user) attribute '{name}' to a number."
            )));
        }
    }
    Ok(Attribute { data_type: data_type.into(), value })
}

/// Checks the attributes of an SNS message as SNS does. `position` is the entry's place in a batch, from 1.
pub(crate) fn for_sns(raw: &BTreeMap<String, Raw>, position: Option<usize>) -> Result<Attributes> {
    raw.iter().map(|(name, raw)| Ok((name.clone(), one_for_sns(name, raw, position)?))).collect()
}

fn one_for_sns(name: &str, raw: &Raw, position: Option<usize>) -> Result<Attribute> {
    check_sns_name(name)?;
    let Some(data_type) = raw.data_type.as_deref() else {
        let attribute = format!("messageAttributes.{name}.member.dataType");
        let at = position.map_or(attribute.clone(), |place| {
            format!("publishBatchRequestEntries.{place}.member.{attribute}")
        });
        return Err(sns::validation(&at, "Member must not be null"));
    };
    let (base, custom) =
        data_type.split_once('.').map_or((data_type, None), |(base, rest)| (base, Some(rest)));
    if !matches!(base, "String" | "Number" | "Binary") || custom == Some("") {
        return Err(sns::invalid_attribute(format!(
            "The message attribute '{name}' has an invalid message attribute type, the set of supported type \
             prefixes is Binary, Number, and String."
        )));
    }
    let empty = || {
        sns::invalid_attribute(format!(
            "The message attribute '{name}' must contain non-empty message attribute value for message attribute \
             type '{data_type}'."
        ))
    };
    let field = if base == "Binary" { "Binary" } else { "String" };
    let (present, other) = match field {
        "Binary" => (raw.binary_value.is_some(), raw.string_value.is_some()),
        _ => (raw.string_value.is_some(), raw.binary_value.is_some()),
    };
    if !present && other {
        let text =
            format!("The message attribute '{name}' with type '{data_type}' must use field '{field}'.");
        return Err(sns::invalid_attribute(text));
    }
    let value = value(data_type, raw).ok_or_else(empty)?;
    if let (Value::Text(text), "Number") = (&value, base)
        && text.trim().parse::<f64>().is_err()
    {
        return Err(sns::invalid_attribute(format!(
            "The value of message attribute '{name}' with type '{data_type}' is not a number."
        )));
    }
    Ok(Attribute { data_type: data_type.into(), value })
}

fn check_sns_name(name: &str) -> Result<()> {
    let refuse = |text: String| -> Result<()> { Err::<(), AwsError>(sns::invalid_attribute(text)) };
    if name.len() > 256 {
        return refuse("Length of message attribute name must be less than 256 bytes.".into());
    }
    if name.starts_with('.') {
        return refuse("Invalid message attribute name starting with character '.' was found.".into());
    }
    if name.ends_with('.') {
        return refuse("Invalid message attribute name ending with character '.' was found.".into());
    }
    let accepted = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if let Some(other) = name.chars().find(|c| !accepted(*c)) {
        return refuse(format!(
            "Invalid non-alphanumeric character '#x{:X}' was found in the message attribute name. Can only include \
             alphanumeric characters, hyphens, underscores, or dots.",
            u32::from(other)
        ));
    }
    if name.contains("..") {
        return refuse("Message attribute name can not have successive '.' character.".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(data_type: &str, text: &str) -> Raw {
        Raw { data_type: Some(data_type.into()), string_value: Some(text.into()), binary_value: None }
    }

    #[test]
    fn the_digest_is_the_one_of_the_sdks() {
        let attributes = Attributes::from([(
            "timestamp".into(),
            Attribute { data_type: "Number".into(), value: Value::Text("1493147359900".into()) },
        )]);
        assert_eq!(digest(&attributes).unwrap(), "235c5c510d26fb653d073faed50ae77c");
        assert_eq!(digest(&Attributes::new()), None);
    }

    #[test]
    fn what_sqs_refuses_is_refused() {
        let one = |name: &str, raw: Raw| for_sqs(&BTreeMap::from([(name.to_string(), raw)]));
        assert!(one("trace.id", raw("String.x", "a")).is_ok());
        for (name, bad) in [
            ("AWS.x", raw("String", "a")),
            (".x", raw("String", "a")),
            ("a b", raw("String", "a")),
            ("x", raw("Text", "a")),
            ("x", raw("String", "")),
            ("x", raw("String", "a\u{1}")),
            ("x", raw("Number", "abc")),
            ("x", raw("Binary", "abc")),
        ] {
            assert_eq!(one(name, bad).unwrap_err().code, "InvalidParameterValue", "{name}");
        }
    }

    #[test]
    fn what_sns_refuses_is_refused() {
        let one = |name: &str, raw: Raw| for_sns(&BTreeMap::from([(name.to_string(), raw)]), None);
        assert!(one("trace.id", raw("String.Array", "[]")).is_ok());
        for (name, bad) in [
            ("x..y", raw("String", "a")),
            ("x^", raw("String", "a")),
            ("x", raw("Stringy", "a")),
            ("x", raw("String", "")),
        ] {
            assert_eq!(one(name, bad).unwrap_err().code, "ParameterValueInvalid", "{name}");
        }
        let untyped = for_sns(&BTreeMap::from([("a".into(), Raw::default())]), Some(2)).unwrap_err();
        assert!(untyped.message.contains("publishBatchRequestEntries.2.member"), "{}", untyped.message);
    }
}
