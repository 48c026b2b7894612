//! A queue's attributes: what may be set, to what, and what the settings mean.

use std::collections::BTreeMap;

use serde_json::Value;

use super::redrive::{RedriveAllowPolicy, RedrivePolicy};
use crate::error::{Result, sqs};

/// The largest message that SQS takes, in bytes; also the largest batch.
pub(crate) const LARGEST_MESSAGE: usize = 1_048_576;

/// Names that SQS computes: shown, never set.
pub(crate) const COMPUTED: [&str; 6] = [
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesDelayed",
    "ApproximateNumberOfMessagesNotVisible",
    "CreatedTimestamp",
    "LastModifiedTimestamp",
    "QueueArn",
];

const FIFO_ONLY: [&str; 4] =
    ["FifoQueue", "ContentBasedDeduplication", "DeduplicationScope", "FifoThroughputLimit"];

/// Numbers: name, least, most, and what a queue has from the start.
const NUMBERS: [(&str, u64, u64, Option<&str>); 6] = [
    ("DelaySeconds", 0, 900, Some("0")),
    ("MaximumMessageSize", 1024, LARGEST_MESSAGE as u64, Some("1048576")),
    ("MessageRetentionPeriod", 60, 1_209_600, Some("345600")),
    ("ReceiveMessageWaitTimeSeconds", 0, 20, Some("0")),
    ("VisibilityTimeout", 0, 43_200, Some("30")),
    ("KmsDataKeyReusePeriodSeconds", 60, 86_400, None),
];

/// A queue's attributes, checked and read.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    values: BTreeMap<String, String>,
    pub(crate) fifo: bool,
    pub(crate) delay: u64,
    pub(crate) largest: usize,
    pub(crate) retention: u64,
    pub(crate) wait: u64,
    pub(crate) visibility: u64,
    pub(crate) content_based_deduplication: bool,
    /// Deduplication by message group, not by queue.
    pub(crate) deduplicate_by_group: bool,
    /// High throughput: quotas count by message group.
    pub(crate) throughput_by_group: bool,
    pub(crate) redrive: Option<RedrivePolicy>,
    pub(crate) redrive_allow: RedriveAllowPolicy,
}

impl Settings {
    /// What a new queue has.
    pub(crate) fn new(fifo: bool) -> Self {
        let mut values: BTreeMap<String, String> = NUMBERS
            .iter()
            .filter_map(|(name, _, _, default)| Some(((*name).into(), (*default)?.into())))
            .collect();
        values.insert("SqsManagedSseEnabled".into(), "true".into());
        if fifo {
            for (name, value) in FIFO_ONLY.iter().zip(["true", "false", "queue", "perQueue"]) {
                values.insert((*name).into(), value.into());
            }
        }
        let mut settings = Self {
            values,
            fifo,
            delay: 0,
            largest: 0,
            retention: 0,
            wait: 0,
            visibility: 0,
            content_based_deduplication: false,
            deduplicate_by_group: false,
            throughput_by_group: false,
            redrive: None,
            redrive_allow: RedriveAllowPolicy::All,
        };
        settings.read();
        settings
    }

    pub(crate) fn values(&self) -> &BTreeMap<String, String> {
        &self.values
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Sets one attribute that is known to be right, or removes it.
    pub(crate) fn put(&mut self, name: &str, value: Option<String>) {
        match value {
            Some(value) => self.values.insert(name.into(), value),
            None => self.values.remove(name),
        };
        self.read();
    }

    /// These settings with changes, all checked first.
    pub(crate) fn with(&self, changes: &BTreeMap<String, String>) -> Result<Self> {
        let mut changed = self.clone();
        for (name, value) in changes {
            changed.change(name, value)?;
        }
        if changes.get("SqsManagedSseEnabled").is_some_and(|value| value.eq_ignore_ascii_case("true"))
            && changes.get("KmsMasterKeyId").is_some_and(|key| !key.is_empty())
        {
            return Err(sqs::invalid_attribute_value(
                "You can use one type of server-side encryption (SSE) at one time. You can either enable KMS SSE \
                 or SQS SSE.",
            ));
        }
        if changed.get("FifoThroughputLimit") == Some("perMessageGroupId")
            && changed.get("DeduplicationScope") != Some("messageGroup")
        {
            return Err(sqs::invalid_attribute_value(
                "The perMessageGroupId value is allowed only when the value for DeduplicationScope is messageGroup.",
            ));
        }
        changed.read();
        Ok(changed)
    }

    fn change(&mut self, name: &str, value: &str) -> Result<()> {
        if !self.fifo && FIFO_ONLY.contains(&name) {
            return Err(match name {
                "DeduplicationScope" | "FifoThroughputLimit" => sqs::invalid_attribute_name(format!(
                    "You can specify the {name} only when FifoQueue is set to true."
                )),
                _ => sqs::invalid_attribute_name(format!("Unknown Attribute {name}.")),
            });
        }
        let wrong = || sqs::invalid_attribute_value(format!("Invalid value for the parameter {name}."));
        let checked = match name {
            "FifoQueue" if value.eq_ignore_ascii_case("true") => "true".to_string(),
            "FifoQueue" => {
                return Err(sqs::invalid_attribute_value(
                    "Invalid value for the parameter FifoQueue. Reason: Modifying queue type is not supported.",
                ));
            }
            "ContentBasedDeduplication" | "SqsManagedSseEnabled" => {
                let lower = value.to_ascii_lowercase();
                if lower != "true" && lower != "false" {
                    return Err(wrong());
                }
                if name == "SqsManagedSseEnabled" && lower == "true" {
                    self.values.remove("KmsMasterKeyId");
                    self.values.remove("KmsDataKeyReusePeriodSeconds");
                }
                lower
            }
            "DeduplicationScope" if matches!(value, "queue" | "messageGroup") => value.into(),
            "FifoThroughputLimit" if matches!(value, "perQueue" | "perMessageGroupId") => value.into(),
            "DeduplicationScope" | "FifoThroughputLimit" => return Err(wrong()),
            "Policy" | "RedrivePolicy" | "RedriveAllowPolicy" | "KmsMasterKeyId" if value.is_empty() => {
                self.values.remove(name);
                if name == "KmsMasterKeyId" {
                    self.values.remove("KmsDataKeyReusePeriodSeconds");
                }
                return Ok(());
            }
            "Policy" => {
                let parsed: Option<Value> = serde_json::from_str(value).ok();
                if !parsed.is_some_and(|policy| policy.is_object()) {
                    return Err(wrong());
                }
                value.into()
            }
            "RedrivePolicy" => {
                RedrivePolicy::parse(value)?;
                value.into()
            }
            "RedriveAllowPolicy" => {
                RedriveAllowPolicy::parse(value)?;
                value.into()
            }
            "KmsMasterKeyId" => {
                self.values.insert("SqsManagedSseEnabled".into(), "false".into());
                self.values.entry("KmsDataKeyReusePeriodSeconds".into()).or_insert_with(|| "300".into());
                value.into()
            }
            _ => {
                let Some((_, least, most, _)) = NUMBERS.iter().find(|(known, ..)| *known == name) else {
                    return Err(sqs::invalid_attribute_name(format!("Unknown Attribute {name}.")));
                };
                let number: u64 = value.trim().parse().map_err(|_| wrong())?;
                if !(*least..=*most).contains(&number) {
                    return Err(wrong());
                }
                number.to_string()
            }
        };
        self.values.insert(name.into(), checked);
        Ok(())
    }

    /// The first attribute whose asked value is not the one that the queue has: what CreateQueue refuses.
    pub(crate) fn difference<'a>(&self, asked: &'a BTreeMap<String, String>) -> Result<Option<&'a str>> {
        let wanted = self.with(asked)?;
        let same = |name: &str| {
            let (here, there) = (self.get(name), wanted.get(name));
            here == there
                || here.zip(there).is_some_and(|(here, there)| {
                    let json = |text: &str| serde_json::from_str::<Value>(text).ok().filter(Value::is_object);
                    json(here).is_some() && json(here).map(normal) == json(there).map(normal)
                })
        };
        Ok(asked.keys().find(|name| !same(name)).map(String::as_str))
    }

    fn number(&self, name: &str) -> u64 {
        self.get(name).and_then(|value| value.parse().ok()).unwrap_or(0)
    }

    fn read(&mut self) {
        self.delay = self.number("DelaySeconds");
        self.largest = usize::try_from(self.number("MaximumMessageSize")).unwrap_or(LARGEST_MESSAGE);
        self.retention = self.number("MessageRetentionPeriod");
        self.wait = self.number("ReceiveMessageWaitTimeSeconds");
        self.visibility = self.number("VisibilityTimeout");
        self.content_based_deduplication = self.get("ContentBasedDeduplication") == Some("true");
        self.deduplicate_by_group = self.get("DeduplicationScope") == Some("messageGroup");
        self.throughput_by_group = self.get("FifoThroughputLimit") == Some("perMessageGroupId");
        self.redrive = self.get("RedrivePolicy").and_then(|text| RedrivePolicy::parse(text).ok());
        self.redrive_allow = self
            .get("RedriveAllowPolicy")
            .and_then(|text| RedriveAllowPolicy::parse(text).ok())
            .unwrap_or_default();
    }
}

/// A redrive policy's count is the same as text and as a number.
fn normal(mut policy: Value) -> Value {
    if let Some(count) = policy.get_mut("maxReceiveCount")
        && let Some(number) = count.as_str().and_then(|text| text.parse::<u64>().ok())
    {
        *count = number.into();
    }
    policy
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    #[test]
    fn values_out_of_range_and_unknown_names_are_refused() {
        let settings = Settings::new(false);
        for (name, value, code) in [
            ("DelaySeconds", "901", "InvalidAttributeValue"),
            ("VisibilityTimeout", "-1", "InvalidAttributeValue"),
            ("VisibilityTimeout", "43201", "InvalidAttributeValue"),
            ("MaximumMessageSize", "1048577", "InvalidAttributeValue"),
            ("MessageRetentionPeriod", "59", "InvalidAttributeValue"),
            ("Policy", "nonsense", "InvalidAttributeValue"),
            ("Visibility", "1", "InvalidAttributeName"),
            ("QueueArn", "x", "InvalidAttributeName"),
            ("FifoQueue", "false", "InvalidAttributeName"),
            ("DeduplicationScope", "queue", "InvalidAttributeName"),
        ] {
            assert_eq!(settings.with(&changes(&[(name, value)])).unwrap_err().code, code, "{name}={value}");
        }
    }

    #[test]
    fn the_same_attributes_in_another_notation_are_no_difference() {
        let policy = r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:0:d","maxReceiveCount":3}"#;
        let spaced = r#"{ "maxReceiveCount": "3", "deadLetterTargetArn": "arn:aws:sqs:us-east-1:0:d" }"#;
        let settings =
            Settings::new(true).with(&changes(&[("RedrivePolicy", policy), ("FifoQueue", "True")]));
        let settings = settings.unwrap();
        assert_eq!(
            settings.difference(&changes(&[("RedrivePolicy", spaced), ("FifoQueue", "true")])),
            Ok(None)
        );
        assert_eq!(settings.difference(&changes(&[("DelaySeconds", "7")])), Ok(Some("DelaySeconds")));
    }

    #[test]
    fn an_empty_policy_removes_it() {
        let settings = Settings::new(false).with(&changes(&[("Policy", "{}")])).unwrap();
        assert_eq!(settings.get("Policy"), Some("{}"));
        assert_eq!(settings.with(&changes(&[("Policy", "")])).unwrap().get("Policy"), None);
    }
}
