//! Message move tasks, and the queues that use a queue for their dead letters.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use super::{locate, queues::page, url_of};
use crate::{
    call::{Call, Int},
    error::{Result, sqs},
    model::{
        arn::Arn,
        move_task::{MoveTask, Status},
        world::World,
    },
};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct StartTask {
    source_arn: Option<String>,
    destination_arn: Option<String>,
    max_number_of_messages_per_second: Option<Int>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct TaskHandle {
    task_handle: String,
}

fn sources<'a>(world: &'a World, target: &'a str) -> impl Iterator<Item = &'a crate::model::queue::Queue> {
    world
        .queues
        .values()
        .filter(move |queue| queue.settings.redrive.as_ref().is_some_and(|policy| policy.target == target))
}

fn missing(parameter: &str) -> crate::error::AwsError {
    sqs::not_found(format!("The resource that you specified for the {parameter} parameter doesn't exist."))
}

pub(crate) fn start(world: &mut World, call: &Call, request: StartTask) -> Result<TaskHandle> {
    let source = request.source_arn.ok_or_else(|| sqs::missing("SourceArn"))?;
    if !world.queues.contains_key(&source) {
        return Err(missing("SourceArn"));
    }
    if sources(world, &source).next().is_none() {
        return Err(sqs::invalid_parameter("Source queue must be configured as a Dead Letter Queue."));
    }
    let destination = request.destination_arn.filter(|arn| !arn.is_empty());
    if let Some(arn) = &destination {
        let Some(target) = world.queues.get(arn) else { return Err(missing("DestinationArn")) };
        if *arn == source {
            return Err(sqs::invalid_parameter(
                "Source queue arn and destination queue arn cannot be the same.",
            ));
        }
        if world.queues.get(&source).is_some_and(|queue| queue.settings.fifo != target.settings.fifo) {
            return Err(sqs::invalid_parameter("Source and destination queues must be of the same type."));
        }
    }
    let rate = match request.max_number_of_messages_per_second {
        None => None,
        Some(Int(rate)) => {
            let fits = u64::try_from(rate).ok().filter(|rate| (1..=500).contains(rate));
            Some(fits.ok_or_else(|| {
                let reason = "Must be between 1 and 500, if provided.";
                sqs::invalid_value(rate, "MaxNumberOfMessagesPerSecond", reason)
            })?)
        }
    };
    world.run_move_tasks(call.now);
    if world.tasks.iter().any(|task| task.source == source && task.status == Status::Running) {
        return Err(sqs::invalid_parameter(
            "There is already a task running. Only one active task is allowed for a source queue arn at a given time.",
        ));
    }
    let id = world.random.uuid();
    let queue = world.queue(&source)?;
    queue.advance(call.now);
    let task = MoveTask {
        id,
        destination,
        rate,
        started: call.now,
        status: Status::Running,
        moved: 0,
        to_move: u64::try_from(queue.counts().visible).unwrap_or(u64::MAX),
        failure: None,
        end: queue.next_key(),
        source,
    };
    let task_handle = task.handle();
    world.tasks.push(task);
    world.run_move_tasks(call.now);
    Ok(TaskHandle { task_handle })
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct CancelTask {
    task_handle: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Cancelled {
    approximate_number_of_messages_moved: u64,
}

pub(crate) fn cancel(world: &mut World, call: &Call, request: CancelTask) -> Result<Cancelled> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Handle {
        task_id: String,
        source_arn: String,
    }
    let handle = request.task_handle.ok_or_else(|| sqs::missing("TaskHandle"))?;
    let read = STANDARD.decode(&handle).ok().and_then(|bytes| serde_json::from_slice::<Handle>(&bytes).ok());
    let handle = read.ok_or_else(|| sqs::invalid_parameter("Value for parameter TaskHandle is invalid."))?;
    if !world.queues.contains_key(&handle.source_arn) {
        return Err(missing("SourceArn"));
    }
    world.run_move_tasks(call.now);
    let task = world.tasks.iter_mut().find(|task| task.id == handle.task_id);
    let task = task.ok_or_else(|| sqs::not_found("Task does not exist."))?;
    if task.status != Status::Running {
        return Err(sqs::not_found("Only active tasks can be cancelled."));
    }
    task.status = Status::Cancelled;
    Ok(Cancelled { approximate_number_of_messages_moved: task.moved })
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ListTasks {
    source_arn: Option<String>,
    max_results: Option<Int>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Tasks {
    results: Vec<Task>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Task {
    #[serde(skip_serializing_if = "Option::is_none")]
    task_handle: Option<String>,
    status: &'static str,
    source_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_number_of_messages_per_second: Option<u64>,
    approximate_number_of_messages_moved: u64,
    approximate_number_of_messages_to_move: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_reason: Option<&'static str>,
    started_timestamp: u64,
}

pub(crate) fn list(world: &mut World, call: &Call, request: ListTasks) -> Result<Tasks> {
    let source = request.source_arn.ok_or_else(|| sqs::missing("SourceArn"))?;
    if Arn::parse(&source).is_none() {
        return Err(sqs::invalid_parameter(
            "You must use this format to specify the SourceArn: arn:<partition>:<service>:<region>:<account-id>:<resource-id>",
        ));
    }
    if !world.queues.contains_key(&source) {
        return Err(missing("SourceArn"));
    }
    let most = match request.max_results {
        None => 1,
        Some(Int(most)) => {
            usize::try_from(most).ok().filter(|most| (1..=10).contains(most)).ok_or_else(|| {
                sqs::invalid_value(most, "MaxResults", "Must be between 1 and 10, if provided.")
            })?
        }
    };
    world.run_move_tasks(call.now);
    let tasks = world.tasks.iter().rev().filter(|task| task.source == source).take(most);
    let results = tasks.map(|task| Task {
        task_handle: (task.status == Status::Running).then(|| task.handle()),
        status: task.status.name(),
        source_arn: task.source.clone(),
        destination_arn: task.destination.clone(),
        max_number_of_messages_per_second: task.rate,
        approximate_number_of_messages_moved: task.moved,
        approximate_number_of_messages_to_move: task.to_move,
        failure_reason: task.failure,
        started_timestamp: task.started.0,
    });
    Ok(Tasks { results: results.collect() })
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ListSources {
    queue_url: Option<String>,
    max_results: Option<Int>,
    next_token: Option<String>,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Sources {
    /// AWS writes this one name in lower case.
    #[serde(rename = "queueUrls")]
    queue_urls: Vec<String>,
    #[serde(rename = "NextToken", skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

pub(crate) fn list_sources(world: &mut World, call: &Call, request: ListSources) -> Result<Sources> {
    let arn = locate(call, request.queue_url.as_deref())?;
    world.queue(&arn)?;
    let names = sources(world, &arn).map(|queue| queue.name.clone()).collect();
    let (names, next_token) = page(names, request.max_results, request.next_token.as_deref())?;
    let queue_urls = names.iter().map(|name| url_of(call, &call.scope, name)).collect();
    Ok(Sources { queue_urls, next_token })
}
