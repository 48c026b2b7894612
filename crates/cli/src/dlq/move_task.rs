//! SQS's own move of every message of a dead-letter queue: it goes on without us.
//!
//! The destination is always named: without it SQS fails at the first message that a consumer put there itself, as it
//! does with one that a handler rejects.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::Context;
use aws_sdk_sqs::types::ListMessageMoveTasksResultEntry;
use lifeline_messaging::call::bounded;
use lifeline_service::Shutdown;

use super::place::Place;
use crate::progress;
use crate::retry::retrying;

/// How often SQS is asked how far it is.
const EVERY: Duration = Duration::from_millis(500);

/// Moves every message, or follows the move that runs already; how many were moved. An interruption cancels the move.
pub(super) async fn run(place: &Place, rate: Option<u32>, shutdown: &Shutdown) -> anyhow::Result<u64> {
    if let Some(task) = latest(place).await?.filter(is_running) {
        let moved = task.approximate_number_of_messages_moved;
        writeln!(io::stderr(), "a move is running already, {moved} messages so far; following it").ok();
    } else {
        start(place, rate).await?;
    }
    let bar = progress::counted(0);
    let mut cancelled = false;
    let ended = loop {
        let Some(task) = latest(place).await? else {
            anyhow::bail!("SQS lists no move of {}", place.arn);
        };
        if let Some(total) = task.approximate_number_of_messages_to_move {
            bar.set_length(u64::try_from(total).unwrap_or(0));
        }
        bar.set_position(u64::try_from(task.approximate_number_of_messages_moved).unwrap_or(0));
        if !is_running(&task) && task.status() != Some("CANCELLING") {
            break task;
        }
        if shutdown.is_requested() && !cancelled {
            cancelled = true;
            cancel(place, &task).await?;
            continue;
        }
        tokio::select! {
            biased;
            () = tokio::time::sleep(EVERY) => {}
            () = shutdown.requested(), if !cancelled => {}
        }
    };
    bar.finish_and_clear();
    let moved = u64::try_from(ended.approximate_number_of_messages_moved).unwrap_or(0);
    if ended.status() == Some("FAILED") {
        let reason = ended.failure_reason().unwrap_or("no reason given");
        anyhow::bail!("SQS ended the move of {} after {moved} messages: {reason}", place.arn);
    }
    Ok(moved)
}

fn is_running(task: &ListMessageMoveTasksResultEntry) -> bool {
    task.status() == Some("RUNNING")
}

async fn start(place: &Place, rate: Option<u32>) -> anyhow::Result<()> {
    let call = place
        .clients
        .sqs
        .start_message_move_task()
        .source_arn(&place.arn)
        .destination_arn(&place.queue.arn)
        .set_max_number_of_messages_per_second(rate.and_then(|rate| i32::try_from(rate).ok()));
    // not repeated: the second would be refused if the first took effect, and the next run follows it
    let started = bounded("StartMessageMoveTask", place.clients.call_timeout, call.send()).await;
    started.map(drop).context(
        "SQS did not start to move the messages; with --older-than 0s they are received, sent and deleted instead",
    )
}

async fn latest(place: &Place) -> anyhow::Result<Option<ListMessageMoveTasksResultEntry>> {
    let list = || {
        let call = place.clients.sqs.list_message_move_tasks().source_arn(&place.arn).max_results(1);
        bounded("ListMessageMoveTasks", place.clients.call_timeout, call.send())
    };
    Ok(retrying(list).await?.results.unwrap_or_default().into_iter().next())
}

async fn cancel(place: &Place, task: &ListMessageMoveTasksResultEntry) -> anyhow::Result<()> {
    let cancel = || {
        let call =
            place.clients.sqs.cancel_message_move_task().set_task_handle(task.task_handle.clone()).send();
        bounded("CancelMessageMoveTask", place.clients.call_timeout, call)
    };
    retrying(cancel).await.context("the move goes on")?;
    Ok(())
}
