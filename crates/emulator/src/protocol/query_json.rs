//! The query protocol's answers as AWS writes them for `Accept: application/json`: the elements of the XML as members,
//! lists whole, SQS's maps as lists of `Name` and `Value`.

use serde_json::{Map, Value, json};

use crate::{
    action::{Action, Service},
    error::AwsError,
};

pub(crate) const CONTENT_TYPE: &str = "application/json";

pub(crate) fn answer(action: Action, mut tree: Value, request_id: &str) -> String {
    let name = action.name();
    if let (Some(list), Value::Object(members)) = (list_of(action), &mut tree)
        && !members.keys().any(|member| renamed(member) == list)
    {
        // AWS names the list that it has nothing for.
        members.insert(list.into(), Value::Null);
    }
    let mut response = Map::new();
    if tree.as_object().is_some_and(|members| !members.is_empty()) {
        let result = if action.service() == Service::Sqs { flat(tree) } else { tree };
        response.insert(format!("{name}Result"), result);
    }
    response.insert("ResponseMetadata".into(), json!({"RequestId": request_id}));
    let mut whole = Map::new();
    whole.insert(format!("{name}Response"), Value::Object(response));
    Value::Object(whole).to_string()
}

pub(crate) fn error(error: &AwsError, request_id: &str) -> String {
    let fault = if error.sender { "Sender" } else { "Receiver" };
    let inner = json!({"Code": error.code, "Message": error.message, "Type": fault});
    json!({"Error": inner, "RequestId": request_id}).to_string()
}

fn list_of(action: Action) -> Option<&'static str> {
    match action {
        Action::ReceiveMessage => Some("messages"),
        Action::ListQueues => Some("queueUrls"),
        _ => None,
    }
}

fn renamed(member: &str) -> &str {
    match member {
        "Messages" => "messages",
        "QueueUrls" => "queueUrls",
        other => other,
    }
}

fn flat(value: Value) -> Value {
    match value {
        Value::Array(list) => list.into_iter().map(flat).collect(),
        Value::Object(members) => {
            Value::Object(members.into_iter().map(|(name, value)| member(&name, value)).collect())
        }
        other => other,
    }
}

fn member(name: &str, value: Value) -> (String, Value) {
    let value = match value {
        Value::Object(map) if matches!(name, "Attributes" | "MessageAttributes" | "Tags") => {
            let key = if name == "Tags" { "Key" } else { "Name" };
            map.into_iter().map(|(entry, value)| json!({key: entry, "Value": flat(value)})).collect()
        }
        value => flat(value),
    };
    (renamed(name).into(), value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_lists_and_nothing_is_null() {
        let message = json!({"Messages": [{"Body": "b", "Attributes": {"SentTimestamp": "1"}}]});
        let answer = |action, tree| serde_json::from_str::<Value>(&answer(action, tree, "r")).unwrap();
        assert_eq!(
            answer(Action::ReceiveMessage, message),
            json!({"ReceiveMessageResponse": {
                "ReceiveMessageResult": {"messages": [{"Body": "b", "Attributes": [{"Name": "SentTimestamp", "Value": "1"}]}]},
                "ResponseMetadata": {"RequestId": "r"},
            }})
        );
        let none = answer(Action::ReceiveMessage, json!({}));
        assert_eq!(none["ReceiveMessageResponse"]["ReceiveMessageResult"], json!({"messages": null}));
        let deleted = answer(Action::DeleteMessage, json!({}));
        assert_eq!(deleted, json!({"DeleteMessageResponse": {"ResponseMetadata": {"RequestId": "r"}}}));
    }
}
