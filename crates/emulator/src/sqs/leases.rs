//! DeleteMessage and ChangeMessageVisibility, alone and in batches.

use serde::Deserialize;

use super::{BatchAnswer, DoneEntry, FailedEntry, check_batch, locate, send::count};
use crate::{
    action::Action,
    call::{Call, Int, Nothing},
    error::{Result, sqs},
    model::world::World,
};

/// One receipt of a request, alone or an entry of a batch.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Lease {
    queue_url: Option<String>,
    id: Option<String>,
    receipt_handle: Option<String>,
    visibility_timeout: Option<Int>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct LeaseBatch {
    queue_url: Option<String>,
    entries: Vec<Lease>,
}

type One = fn(&mut World, &Call, &str, &Lease) -> Result<()>;

fn delete_one(world: &mut World, call: &Call, arn: &str, lease: &Lease) -> Result<()> {
    let handle = lease.receipt_handle.as_deref().ok_or_else(|| sqs::missing("ReceiptHandle"))?;
    world.queue(arn)?.delete(handle, call.now)?;
    Ok(())
}

fn change_one(world: &mut World, call: &Call, arn: &str, lease: &Lease) -> Result<()> {
    let handle = lease.receipt_handle.as_deref().ok_or_else(|| sqs::missing("ReceiptHandle"))?;
    let Int(seconds) = lease.visibility_timeout.ok_or_else(|| sqs::missing("VisibilityTimeout"))?;
    world.queue(arn)?.change_visibility(handle, seconds, call.now)
}

pub(crate) fn delete(world: &mut World, call: &Call, request: Lease) -> Result<Nothing> {
    let arn = locate(call, request.queue_url.as_deref())?;
    count(world, &arn, Action::DeleteMessage, call)?;
    delete_one(world, call, &arn, &request)?;
    Ok(Nothing {})
}

pub(crate) fn change(world: &mut World, call: &Call, request: Lease) -> Result<Nothing> {
    let arn = locate(call, request.queue_url.as_deref())?;
    change_one(world, call, &arn, &request)?;
    Ok(Nothing {})
}

pub(crate) fn delete_batch(world: &mut World, call: &Call, request: LeaseBatch) -> Result<BatchAnswer> {
    let arn = locate(call, request.queue_url.as_deref())?;
    count(world, &arn, Action::DeleteMessageBatch, call)?;
    batch(world, call, "DeleteMessageBatch", &arn, &request.entries, delete_one)
}

pub(crate) fn change_batch(world: &mut World, call: &Call, request: LeaseBatch) -> Result<BatchAnswer> {
    let arn = locate(call, request.queue_url.as_deref())?;
    world.queue(&arn)?;
    batch(world, call, "ChangeMessageVisibilityBatch", &arn, &request.entries, change_one)
}

fn batch(
    world: &mut World,
    call: &Call,
    action: &str,
    arn: &str,
    entries: &[Lease],
    one: One,
) -> Result<BatchAnswer> {
    check_batch(action, entries.iter().map(|entry| entry.id.as_deref()))?;
    let mut answer = BatchAnswer::default();
    for entry in entries {
        let id = entry.id.clone().unwrap_or_default();
        match one(world, call, arn, entry) {
            Ok(()) => answer.successful.push(DoneEntry { id }),
            Err(error) => answer.failed.push(FailedEntry::new(&id, error)),
        }
    }
    Ok(answer)
}
