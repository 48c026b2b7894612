//! FIFO queues with few and many message groups: the rate against what the groups allow, and the order.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Result;
use tokio::task::JoinSet;

use crate::contender::{Contender, Job};
use crate::lab::Lab;
use crate::results::Ordered;
use crate::slow_handler::Taken;
use crate::stage::Stage;
use crate::throughput::watch;
use crate::working::Working;

/// Numbers of message groups.
pub const GROUPS: [u64; 3] = [1, 100, 10_000];

/// Milliseconds that the handler takes; with 0 nothing but the consumer limits the rate.
pub const HANDLERS: [u64; 2] = [10, 0];

/// Bytes of a body.
const BODY: usize = 200;

/// Messages in a queue: at least those of a few seconds.
const MOST: f64 = 20_000.0;

/// Concurrent calls that fill the queue.
const CALLS: usize = 16;

/// Drains a FIFO queue with `groups` groups.
pub async fn drain(
    lab: &Lab,
    contender: Contender,
    in_flight: usize,
    groups: u64,
    handler_ms: u64,
) -> Result<Ordered> {
    let (endpoint, stage) = lab.set_fifo().await?;
    let takes = Duration::from_millis(handler_ms);
    // One message of a group at a time, and `in_flight` of all groups.
    let allowed = (handler_ms > 0).then(|| groups.min(in_flight as u64) as f64 / takes.as_secs_f64());
    let few = if groups == 1 { 2000.0 } else { MOST };
    let count = allowed.map_or(few, |allowed| (allowed * 3.0).min(MOST)).max(300.0) as u64;
    fill(&stage, count, groups).await?;
    let done = |left: u64| count.saturating_sub(left);
    let (run, taken) = if handler_ms > 0 {
        let mut working = Working::start(lab, contender, &stage, in_flight, takes).await?;
        let run = watch(&endpoint, &stage, &mut working.running, count, done).await?;
        (run, working.service.taken())
    } else {
        let mut running = lab.start(contender, &stage, in_flight, Job::Drain)?;
        (watch(&endpoint, &stage, &mut running, count, done).await?, Vec::new())
    };
    let out_of_order = out_of_order(&taken);
    Ok(Ordered { contender, groups, handler_ms, allowed, span: run.span, out_of_order })
}

/// Sends `count` messages, in the order of their numbers, to `groups` groups in turn.
async fn fill(stage: &Stage, count: u64, groups: u64) -> Result<()> {
    // Each lane has groups of its own, so that no group is filled out of order.
    let lanes = groups.min(CALLS as u64);
    let mut calls = JoinSet::new();
    for lane in 0..lanes {
        let stage = stage.clone();
        let numbers: Vec<u64> = (0..count).filter(|number| number % groups % lanes == lane).collect();
        calls.spawn(async move {
            for batch in numbers.chunks(10) {
                let message = |number: &u64| {
                    let group = number % groups;
                    (format!("group-{group}"), *number, body(group, *number))
                };
                stage.send(batch.iter().map(message).collect()).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = calls.join_next().await {
        ended??;
    }
    Ok(())
}

fn body(group: u64, number: u64) -> String {
    let mut body = format!("{group:010} {number:010} ");
    body.extend(std::iter::repeat_n('x', BODY - body.len()));
    body
}

/// Messages that were handled after a later one of their group.
fn out_of_order(taken: &[Taken]) -> u64 {
    let mut latest: HashMap<&[u8], &[u8]> = HashMap::new();
    let mut wrong = 0;
    for taken in taken {
        let (Some(group), Some(number)) = (taken.head.get(..10), taken.head.get(11..21)) else { continue };
        let last = latest.entry(group).or_insert(number);
        if number < *last {
            wrong += 1;
        } else {
            *last = number;
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_after_a_later_one_of_its_group_is_out_of_order() {
        let taken = |(group, number)| Taken { at: 0, head: body(group, number).into_bytes() };
        assert_eq!(body(3, 4).len(), BODY);
        assert_eq!(out_of_order(&[(1, 1), (2, 5), (1, 2), (2, 9)].map(taken)), 0);
        assert_eq!(out_of_order(&[(1, 2), (2, 5), (1, 1), (2, 5)].map(taken)), 1);
    }
}
