//! The query protocol's requests: a form whose names are paths, such as `Entries.member.1.Id`, becomes the tree that
//! the JSON protocol would have sent.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::action::Service;

/// A form, as it came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Form(BTreeMap<String, String>);

#[derive(Debug, Default)]
struct Node {
    text: Option<String>,
    children: BTreeMap<Part, Node>,
}

/// A part of a name; numbers stand in the order of their value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Number(u64),
    Name(String),
}

/// How a flattened parameter of SQS is called in JSON, and what it is.
enum Kind {
    List,
    Map(&'static str, &'static str),
}

fn flattened(name: &str) -> Option<(&'static str, Kind)> {
    let map = Kind::Map("Name", "Value");
    Some(match name {
        "Attribute" => ("Attributes", map),
        "MessageAttribute" => ("MessageAttributes", map),
        "MessageSystemAttribute" => ("MessageSystemAttributes", map),
        "Tag" => ("Tags", Kind::Map("Key", "Value")),
        "AttributeName" => ("AttributeNames", Kind::List),
        "MessageAttributeName" => ("MessageAttributeNames", Kind::List),
        "MessageSystemAttributeName" => ("MessageSystemAttributeNames", Kind::List),
        "TagKey" => ("TagKeys", Kind::List),
        "ActionName" => ("Actions", Kind::List),
        "AWSAccountId" => ("AWSAccountIds", Kind::List),
        "SendMessageBatchRequestEntry"
        | "DeleteMessageBatchRequestEntry"
        | "ChangeMessageVisibilityBatchRequestEntry" => ("Entries", Kind::List),
        _ => return None,
    })
}

/// The longest name of AWS has eight parts; the tree is walked by recursion, and must have a bottom.
const DEEPEST: usize = 16;

impl Form {
    /// Reads a form; `None` for one that is not UTF-8, which would change what is sent, or has names without a bottom.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        percent_encoding::percent_decode(text).decode_utf8().ok()?;
        let form: BTreeMap<String, String> = form_urlencoded::parse(text).into_owned().collect();
        form.keys().all(|name| name.split('.').nth(DEEPEST).is_none()).then_some(Self(form))
    }

    /// Adds what another form has and this one has not.
    pub(crate) fn or(mut self, other: Self) -> Self {
        for (name, value) in other.0 {
            self.0.entry(name).or_insert(value);
        }
        self
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The parameters as a tree.
    pub(crate) fn tree(self, service: Service) -> Value {
        let mut root = Node::default();
        for (name, value) in self.0 {
            let mut node = &mut root;
            for part in name.split('.') {
                let part = part.parse().map_or_else(|_| Part::Name(part.into()), Part::Number);
                node = node.children.entry(part).or_default();
            }
            node.text = Some(value);
        }
        root.value(service)
    }
}

impl Node {
    fn child(&self, name: &str) -> Option<&Self> {
        self.children.get(&Part::Name(name.into()))
    }

    fn value(&self, service: Service) -> Value {
        if self.children.is_empty() {
            return self.text.clone().map_or(Value::Null, Value::String);
        }
        if service == Service::Sns {
            if let Some(members) = self.child("member") {
                return members.list(service);
            }
            if let Some(entries) = self.child("entry") {
                return entries.map(service, &["key", "Name"], &["value", "Value"]);
            }
        }
        let mut object = Map::new();
        for (part, child) in &self.children {
            let Part::Name(name) = part else { continue };
            let found = if service == Service::Sqs { flattened(name) } else { None };
            match found {
                Some((name, Kind::List)) => object.insert(name.into(), child.list(service)),
                Some((name, Kind::Map(key, value))) if !child.children.is_empty() => {
                    object.insert(name.into(), child.map(service, &[key], &[value]))
                }
                _ if child.is_empty_collection(name) => None,
                _ => object.insert(name.clone(), child.value(service)),
            };
        }
        Value::Object(object)
    }

    /// An empty list or map is sent as its name alone.
    fn is_empty_collection(&self, name: &str) -> bool {
        const COLLECTIONS: [&str; 11] = [
            "AttributeNames",
            "Attributes",
            "Entries",
            "MessageAttributeNames",
            "MessageAttributes",
            "MessageSystemAttributeNames",
            "PublishBatchRequestEntries",
            "Tags",
            "TagKeys",
            "AWSAccountId",
            "ActionName",
        ];
        self.children.is_empty() && COLLECTIONS.contains(&name)
    }

    /// The numbered children; a value without a number is a list of one.
    fn list(&self, service: Service) -> Value {
        let numbered = self.children.iter().filter(|(part, _)| matches!(part, Part::Number(_)));
        let one = self.text.iter().filter(|text| !text.is_empty()).map(|text| Value::String(text.clone()));
        Value::Array(one.chain(numbered.map(|(_, child)| child.value(service))).collect())
    }

    fn map(&self, service: Service, keys: &[&str], values: &[&str]) -> Value {
        let find = |entry: &Self, names: &[&str]| {
            names.iter().find_map(|name| entry.child(name)).map(|found| found.value(service))
        };
        let entries = self.children.values().filter_map(|entry| {
            let Some(Value::String(key)) = find(entry, keys) else { return None };
            Some((key, find(entry, values).unwrap_or_else(|| Value::String(String::new()))))
        });
        Value::Object(entries.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sqs_flattens_lists_and_maps() {
        let form = "Action=SendMessageBatch&QueueUrl=u&SendMessageBatchRequestEntry.1.Id=a&SendMessageBatchRequestEntry.1.\
                    MessageAttribute.1.Name=n&SendMessageBatchRequestEntry.1.MessageAttribute.1.Value.StringValue=v&\
                    SendMessageBatchRequestEntry.10.Id=c&SendMessageBatchRequestEntry.2.Id=b&AttributeName=All";
        let tree = Form::parse(form.as_bytes()).unwrap().tree(Service::Sqs);
        let ids: Vec<_> = tree["Entries"].as_array().unwrap().iter().map(|entry| &entry["Id"]).collect();
        assert_eq!(ids, ["a", "b", "c"]);
        assert_eq!(tree["Entries"][0]["MessageAttributes"], json!({"n": {"StringValue": "v"}}));
        assert_eq!(tree["AttributeNames"], json!(["All"]));
    }

    #[test]
    fn a_form_that_is_not_text_or_has_no_bottom_is_none() {
        assert!(Form::parse(b"MessageBody=%ff%fe").is_none());
        assert!(Form::parse(b"MessageBody=\xff").is_none());
        assert!(Form::parse(format!("{}=1", vec!["a"; 100_000].join(".")).as_bytes()).is_none());
        assert!(Form::parse("MessageBody=%E2%82%AC+€%zz%".as_bytes()).is_some());
    }

    #[test]
    fn an_empty_list_is_sent_as_its_name_alone() {
        let tree = Form::parse(b"Action=CreateTopic&Name=t&Tags=&Attributes=").unwrap().tree(Service::Sns);
        assert_eq!(tree, json!({"Action": "CreateTopic", "Name": "t"}));
    }

    #[test]
    fn sns_has_members_and_entries() {
        let form = "Attributes.entry.1.key=FifoTopic&Attributes.entry.1.value=true&Tags.member.1.Key=k&Tags.member.1.\
                    Value=&MessageAttributes.entry.1.Name=a&MessageAttributes.entry.1.Value.DataType=String";
        let tree = Form::parse(form.as_bytes()).unwrap().tree(Service::Sns);
        assert_eq!(tree["Attributes"], json!({"FifoTopic": "true"}));
        assert_eq!(tree["Tags"], json!([{"Key": "k", "Value": ""}]));
        assert_eq!(tree["MessageAttributes"], json!({"a": {"DataType": "String"}}));
    }
}
