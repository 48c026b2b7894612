//! The query protocol that SNS and STS speak: form-urlencoded in, XML out.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::{Map, Value};

use crate::fault::ServiceError;

enum Node {
    Leaf(String),
    Branch(BTreeMap<String, Node>),
}

/// Folds `A.member.1.B=c` back into `{"A": [{"B": "c"}]}`; `entry` lists likewise.
pub(crate) fn fold(form: &[u8]) -> Value {
    let mut root = BTreeMap::new();
    for (key, value) in form_urlencoded::parse(form) {
        insert(&mut root, &key, value);
    }
    Node::Branch(root).into()
}

fn insert(branch: &mut BTreeMap<String, Node>, path: &str, value: Cow<'_, str>) {
    match path.split_once('.') {
        None => {
            branch.insert(path.into(), Node::Leaf(value.into_owned()));
        }
        Some((head, rest)) => {
            let node = branch.entry(head.into()).or_insert_with(|| Node::Branch(BTreeMap::new()));
            if matches!(node, Node::Leaf(_)) {
                *node = Node::Branch(BTreeMap::new());
            }
            if let Node::Branch(inner) = node {
                insert(inner, rest, value);
            }
        }
    }
}

impl From<Node> for Value {
    fn from(node: Node) -> Self {
        let branch = match node {
            Node::Leaf(text) => return Value::String(text),
            Node::Branch(branch) => branch,
        };
        let is_list = branch.len() == 1 && branch.keys().all(|k| k == "member" || k == "entry");
        if !is_list {
            return Value::Object(branch.into_iter().map(|(k, v)| (k, v.into())).collect::<Map<_, _>>());
        }
        match branch.into_values().next() {
            Some(Node::Branch(items)) => {
                let mut items: Vec<(u32, Node)> =
                    items.into_iter().map(|(k, v)| (k.parse().unwrap_or_default(), v)).collect();
                items.sort_by_key(|(index, _)| *index);
                Value::Array(items.into_iter().map(|(_, v)| v.into()).collect())
            }
            Some(leaf) => leaf.into(),
            None => Value::Null,
        }
    }
}

/// An element around text, escaped.
pub(crate) fn text(name: &str, text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\r' => escaped.push_str("&#13;"),
            c => escaped.push(c),
        }
    }
    element(name, &escaped)
}

/// An element around XML.
pub(crate) fn element(name: &str, inner: &str) -> String {
    format!("<{name}>{inner}</{name}>")
}

/// A map as the query protocol writes it.
pub(crate) fn entries(name: &str, map: &BTreeMap<String, String>) -> String {
    let inner: String =
        map.iter().map(|(k, v)| element("entry", &(text("key", k) + &text("value", v)))).collect();
    element(name, &inner)
}

/// A whole answer to `action`.
pub(crate) fn answer(action: &str, namespace: &str, result: &str) -> String {
    let metadata = element("ResponseMetadata", &text("RequestId", &crate::uuid()));
    format!(
        "<{action}Response xmlns=\"{namespace}\"><{action}Result>{result}</{action}Result>{metadata}</{action}Response>"
    )
}

/// A whole error answer.
pub(crate) fn error(error: &ServiceError, namespace: &str) -> String {
    let kind = text("Type", if error.sender_fault { "Sender" } else { "Receiver" });
    let inner = element("Error", &(kind + &text("Code", &error.code) + &text("Message", &error.message)));
    format!(
        "<ErrorResponse xmlns=\"{namespace}\">{inner}{}</ErrorResponse>",
        text("RequestId", &crate::uuid())
    )
}
