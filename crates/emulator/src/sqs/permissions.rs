//! AddPermission and RemovePermission of queues.

use serde::Deserialize;

use super::locate;
use crate::{
    action::{Action, Service},
    call::{Call, Nothing},
    error::{Result, sqs},
    model::{
        permission::{self, Permission, Refused},
        world::World,
    },
};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct AddPermission {
    queue_url: Option<String>,
    label: Option<String>,
    #[serde(rename = "AWSAccountIds")]
    accounts: Vec<String>,
    actions: Vec<String>,
}

pub(crate) fn add(world: &mut World, call: &Call, request: AddPermission) -> Result<Nothing> {
    let queue = world.queue(&locate(call, request.queue_url.as_deref())?)?;
    let label = request.label.ok_or_else(|| sqs::missing("Label"))?;
    if request.accounts.is_empty() {
        return Err(sqs::missing("AWSAccountIds"));
    }
    if request.actions.is_empty() {
        return Err(sqs::missing("Actions"));
    }
    for action in &request.actions {
        if action != "*" && Action::find(Service::Sqs, action).is_none() {
            let reason = "Please refer to the appropriate WSDL for a list of valid actions. ";
            return Err(sqs::invalid_value(format!("SQS:{action}"), "ActionName", reason));
        }
    }
    let permission = Permission {
        label: &label,
        scope: &call.scope,
        accounts: &request.accounts,
        actions: request.actions.iter().map(|action| format!("SQS:{action}")).collect(),
        resource: &queue.arn,
    };
    let id = format!("{}/SQSDefaultPolicy", queue.arn);
    let policy = permission::add(queue.settings.get("Policy"), &id, permission)
        .map_err(|_: Refused| sqs::invalid_value(&label, "Label", "Already exists."))?;
    queue.put_attribute("Policy", Some(policy));
    Ok(Nothing {})
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct RemovePermission {
    queue_url: Option<String>,
    label: Option<String>,
}

pub(crate) fn remove(world: &mut World, call: &Call, request: RemovePermission) -> Result<Nothing> {
    let queue = world.queue(&locate(call, request.queue_url.as_deref())?)?;
    let label = request.label.ok_or_else(|| sqs::missing("Label"))?;
    let policy = permission::remove(queue.settings.get("Policy"), &label)
        .map_err(|_: Refused| sqs::invalid_value(&label, "Label", "can't find label."))?;
    queue.put_attribute("Policy", policy);
    Ok(Nothing {})
}
