//! Permissions: the statements that AddPermission and RemovePermission keep in the policy of a queue or topic.

use serde_json::{Map, Value};

use super::arn::Scope;

/// A statement of a permission, in AWS's order of fields.
pub(crate) struct Permission<'a> {
    pub(crate) label: &'a str,
    pub(crate) scope: &'a Scope,
    pub(crate) accounts: &'a [String],
    /// With the service: `SQS:SendMessage`.
    pub(crate) actions: Vec<String>,
    pub(crate) resource: &'a str,
}

/// Why a permission could not be added or removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Exists,
    Unknown,
}

/// The statements of a policy.
fn statements(policy: &Value) -> Vec<Value> {
    match &policy["Statement"] {
        Value::Array(list) => list.clone(),
        Value::Null => Vec::new(),
        one => vec![one.clone()],
    }
}

fn has(statements: &[Value], label: &str) -> bool {
    statements.iter().any(|statement| statement["Sid"] == label)
}

/// One as itself, several as a list.
fn one_or_many(mut values: Vec<String>) -> Value {
    if values.len() == 1 { values.remove(0).into() } else { values.into() }
}

fn read(policy: Option<&str>, id: &str) -> Map<String, Value> {
    let parsed = policy.and_then(|text| serde_json::from_str(text).ok());
    let Some(Value::Object(policy)) = parsed else {
        return Map::from_iter([("Version".into(), "2008-10-17".into()), ("Id".into(), id.into())]);
    };
    policy
}

/// The policy with one statement more.
pub(crate) fn add(policy: Option<&str>, id: &str, permission: Permission<'_>) -> Result<String, Refused> {
    let mut policy = read(policy, id);
    let mut all = statements(&Value::Object(policy.clone()));
    if has(&all, permission.label) {
        return Err(Refused::Exists);
    }
    let principals = permission.accounts.iter().map(|account| permission.scope.root_of(account)).collect();
    all.push(serde_json::json!({
        "Sid": permission.label,
        "Effect": "Allow",
        "Principal": {"AWS": one_or_many(principals)},
        "Action": one_or_many(permission.actions),
        "Resource": permission.resource,
    }));
    policy.insert("Statement".into(), all.into());
    Ok(Value::Object(policy).to_string())
}

/// The policy without a statement; `None` when no statement is left.
pub(crate) fn remove(policy: Option<&str>, label: &str) -> Result<Option<String>, Refused> {
    let mut policy = read(policy, "");
    let mut all = statements(&Value::Object(policy.clone()));
    if !has(&all, label) {
        return Err(Refused::Unknown);
    }
    all.retain(|statement| statement["Sid"] != label);
    let left = !all.is_empty();
    policy.insert("Statement".into(), all.into());
    Ok(left.then(|| Value::Object(policy).to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permission_is_added_once_and_removed_once() {
        let scope = Scope::new("000000000000", "us-east-1");
        let arn = scope.queue_arn("orders");
        let accounts = ["111111111111".to_string()];
        let permission = || Permission {
            label: "send",
            scope: &scope,
            accounts: &accounts,
            actions: vec!["SQS:SendMessage".into()],
            resource: &arn,
        };
        let policy = add(None, "id", permission()).unwrap();
        let read: Value = serde_json::from_str(&policy).unwrap();
        assert_eq!(read["Statement"][0]["Principal"]["AWS"], "arn:aws:iam::111111111111:root");
        assert_eq!(add(Some(&policy), "id", permission()), Err(Refused::Exists));
        assert_eq!(remove(Some(&policy), "send"), Ok(None));
        assert_eq!(remove(Some(&policy), "other"), Err(Refused::Unknown));
    }
}
