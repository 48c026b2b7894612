//! The query protocol's answers: XML, from the tree that the JSON protocol would have sent.

use serde_json::{Map, Value};

use crate::{
    action::{Action, Service},
    error::AwsError,
};

pub(crate) const CONTENT_TYPE: &str = "text/xml";

fn namespace(service: Service) -> &'static str {
    match service {
        Service::Sqs => "http://queue.amazonaws.com/doc/2012-11-05/",
        Service::Sns => "http://sns.amazonaws.com/doc/2010-03-31/",
        Service::Sts => "https://sts.amazonaws.com/doc/2011-06-15/",
    }
}

pub(crate) fn answer(action: Action, tree: &Value, request_id: &str) -> String {
    let (name, service) = (action.name(), action.service());
    let mut xml = format!("<?xml version=\"1.0\"?><{name}Response xmlns=\"{}\">", namespace(service));
    let mut inner = String::new();
    if let Value::Object(members) = tree {
        object(&mut inner, members, action);
    }
    element(&mut xml, &format!("{name}Result"), &inner);
    xml.push_str(&format!(
        "<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{name}Response>"
    ));
    xml
}

pub(crate) fn error(service: Service, error: &AwsError, request_id: &str) -> String {
    let fault = if error.sender { "Sender" } else { "Receiver" };
    // SQS has an element more than SNS.
    let detail = if service == Service::Sqs { "<Detail/>" } else { "" };
    let mut xml = format!(
        "<?xml version=\"1.0\"?><ErrorResponse xmlns=\"{}\"><Error><Type>{fault}</Type>",
        namespace(service)
    );
    text_element(&mut xml, "Code", &error.code);
    text_element(&mut xml, "Message", &error.message);
    xml.push_str(&format!("{detail}</Error><RequestId>{request_id}</RequestId></ErrorResponse>"));
    xml
}

fn object(xml: &mut String, members: &Map<String, Value>, action: Action) {
    for (name, value) in members {
        match action.service() {
            Service::Sqs => sqs_member(xml, name, value, action),
            Service::Sns | Service::Sts => sns_member(xml, name, value, action),
        }
    }
}

/// SQS writes lists and maps flat: one element for each entry.
fn sqs_member(xml: &mut String, name: &str, value: &Value, action: Action) {
    let entry = format!("{}ResultEntry", action.name());
    let flat = match name {
        "Messages" => "Message",
        "QueueUrls" | "queueUrls" => "QueueUrl",
        "Successful" | "Results" => entry.as_str(),
        "Failed" => "BatchResultErrorEntry",
        "Attributes" => "Attribute",
        "MessageAttributes" => "MessageAttribute",
        "Tags" => "Tag",
        other => other,
    };
    match value {
        Value::Array(list) => list.iter().for_each(|value| any(xml, flat, value, action)),
        Value::Object(map) if matches!(name, "Attributes" | "MessageAttributes" | "Tags") => {
            let key_name = if name == "Tags" { "Key" } else { "Name" };
            for (key, value) in map {
                let mut inner = String::new();
                text_element(&mut inner, key_name, key);
                any(&mut inner, "Value", value, action);
                element(xml, flat, &inner);
            }
        }
        value => any(xml, flat, value, action),
    }
}

/// SNS wraps lists in `member` and maps in `entry`.
fn sns_member(xml: &mut String, name: &str, value: &Value, action: Action) {
    let mut inner = String::new();
    match value {
        Value::Array(list) => list.iter().for_each(|value| any(&mut inner, "member", value, action)),
        Value::Object(map) if name == "Attributes" => {
            for (key, value) in map {
                let mut entry = String::new();
                text_element(&mut entry, "key", key);
                any(&mut entry, "value", value, action);
                element(&mut inner, "entry", &entry);
            }
        }
        value => return any(xml, name, value, action),
    }
    element(xml, name, &inner);
}

fn any(xml: &mut String, name: &str, value: &Value, action: Action) {
    match value {
        Value::Null => {}
        Value::String(text) => text_element(xml, name, text),
        Value::Bool(_) | Value::Number(_) => element(xml, name, &value.to_string()),
        Value::Array(list) => list.iter().for_each(|value| any(xml, name, value, action)),
        Value::Object(members) => {
            let mut inner = String::new();
            object(&mut inner, members, action);
            element(xml, name, &inner);
        }
    }
}

fn element(xml: &mut String, name: &str, inner: &str) {
    xml.push('<');
    xml.push_str(name);
    if inner.is_empty() {
        xml.push_str("/>");
        return;
    }
    xml.push('>');
    xml.push_str(inner);
    xml.push_str("</");
    xml.push_str(name);
    xml.push('>');
}

fn text_element(xml: &mut String, name: &str, text: &str) {
    element(xml, name, &escape(text));
}

/// Escapes what would end a text, and the carriage return that an XML parser would turn into a line feed.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + text.len() / 8);
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\r' => escaped.push_str("&#xD;"),
            '\n' => escaped.push_str("&#xA;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sqs_is_flat_and_sns_is_nested() {
        let messages = json!({"Messages": [{"MessageId": "1", "Attributes": {"SentTimestamp": "2"}}]});
        let xml = answer(Action::ReceiveMessage, &messages, "r");
        assert!(
            xml.contains("<Message><Attribute><Name>SentTimestamp</Name><Value>2</Value></Attribute>"),
            "{xml}"
        );
        let topics = json!({"Topics": [{"TopicArn": "a&b"}]});
        let xml = answer(Action::ListTopics, &topics, "r");
        assert!(xml.contains("<Topics><member><TopicArn>a&amp;b</TopicArn></member></Topics>"), "{xml}");
        let xml = answer(Action::DeleteTopic, &json!({}), "r");
        assert!(xml.contains("<DeleteTopicResult/><ResponseMetadata><RequestId>r"), "{xml}");
    }

    #[test]
    fn a_body_survives_an_xml_parser() {
        assert_eq!(escape("<a>\r\n\"&\""), "&lt;a&gt;&#xD;&#xA;&quot;&amp;&quot;");
    }
}
