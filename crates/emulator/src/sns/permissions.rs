//! AddPermission and RemovePermission of topics.

use serde::Deserialize;

use super::topic;
use crate::{
    call::{Call, Nothing},
    error::{Result, sns},
    model::{
        permission::{self, Permission, Refused},
        world::World,
    },
};

/// The actions that a topic's policy may allow.
const ACTIONS: [&str; 9] = [
    "GetTopicAttributes",
    "SetTopicAttributes",
    "AddPermission",
    "RemovePermission",
    "DeleteTopic",
    "Subscribe",
    "ListSubscriptionsByTopic",
    "Publish",
    "Receive",
];

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct AddPermission {
    topic_arn: Option<String>,
    label: Option<String>,
    #[serde(rename = "AWSAccountId")]
    accounts: Vec<String>,
    action_name: Vec<String>,
}

pub(crate) fn add(world: &mut World, call: &Call, request: AddPermission) -> Result<Nothing> {
    let topic = topic(world, call, request.topic_arn.as_deref())?;
    let label = request.label.unwrap_or_default();
    let in_scope = request.action_name.iter().all(|action| ACTIONS.contains(&action.as_str()));
    let policy = topic.attributes.get("Policy").map(String::as_str);
    let permission = Permission {
        label: &label,
        scope: &call.scope,
        accounts: &request.accounts,
        actions: request.action_name.iter().map(|action| format!("SNS:{action}")).collect(),
        resource: &topic.arn,
    };
    let policy = permission::add(policy, "__default_policy_ID", permission)
        .map_err(|_: Refused| sns::invalid("Statement already exists"))?;
    if !in_scope {
        return Err(sns::invalid("Policy statement action out of service scope!"));
    }
    topic.attributes.insert("Policy".into(), policy);
    Ok(Nothing {})
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct RemovePermission {
    topic_arn: Option<String>,
    label: Option<String>,
}

/// An unknown label is no error, as at AWS.
pub(crate) fn remove(world: &mut World, call: &Call, request: RemovePermission) -> Result<Nothing> {
    let topic = topic(world, call, request.topic_arn.as_deref())?;
    let policy = topic.attributes.get("Policy").map(String::as_str);
    match permission::remove(policy, &request.label.unwrap_or_default()) {
        Ok(Some(policy)) => {
            topic.attributes.insert("Policy".into(), policy);
        }
        Ok(None) => topic.set("Policy", "", false)?,
        Err(Refused::Unknown | Refused::Exists) => {}
    }
    Ok(Nothing {})
}
