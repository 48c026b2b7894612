//! Message move tasks.

use std::time::Duration;

use aws_sdk_sqs::types::ListMessageMoveTasksResultEntry as Task;
use tokio::time::advance;

use crate::support::{Clients, error_code};

async fn dead(clients: &Clients, bodies: &[&str]) -> (lifeline_emulator::Queue, lifeline_emulator::Queue) {
    let queue = clients.emulator.queue("orders").max_receives(1).visibility_timeout(1);
    for body in bodies {
        queue.send(*body);
    }
    assert_eq!(clients.receive(&queue.url()).await.len(), bodies.len());
    advance(Duration::from_secs(1)).await;
    assert!(clients.receive(&queue.url()).await.is_empty());
    (queue, clients.emulator.queue("orders-dlq"))
}

async fn task(clients: &Clients, source: &str) -> Task {
    let list = clients.sqs.list_message_move_tasks().source_arn(source).send().await.unwrap();
    list.results.unwrap().remove(0)
}

#[tokio::test(start_paused = true)]
async fn dead_letters_go_back_to_where_they_came_from() {
    let clients = Clients::new();
    let (queue, letters) = dead(&clients, &["a", "b", "c"]).await;
    clients.sqs.start_message_move_task().source_arn(letters.arn()).send().await.unwrap();
    assert_eq!((queue.bodies(), letters.len()), (vec!["a".into(), "b".into(), "c".into()], 0));
    let task = task(&clients, letters.arn()).await;
    assert_eq!((task.status(), task.approximate_number_of_messages_moved()), (Some("COMPLETED"), 3));
}

#[tokio::test(start_paused = true)]
async fn a_rate_is_kept_one_task_runs_at_a_time_and_it_can_be_cancelled() {
    let clients = Clients::new();
    let (queue, letters) = dead(&clients, &["a", "b", "c", "d"]).await;
    let start = || {
        let start = clients.sqs.start_message_move_task().source_arn(letters.arn());
        start.max_number_of_messages_per_second(1).send()
    };
    let handle = start().await.unwrap().task_handle.unwrap();
    assert_eq!(error_code(&start().await.unwrap_err()), "InvalidParameterValue");
    assert_eq!(queue.len(), 1);
    advance(Duration::from_secs(1)).await;
    assert_eq!(queue.len(), 2);
    let cancelled = clients.sqs.cancel_message_move_task().task_handle(&handle).send().await.unwrap();
    assert_eq!(cancelled.approximate_number_of_messages_moved(), 2);
    advance(Duration::from_secs(10)).await;
    assert_eq!((queue.len(), letters.len()), (2, 2));
    assert_eq!(task(&clients, letters.arn()).await.status(), Some("CANCELLED"));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_moved_is_refused_before_anything_moves() {
    let clients = Clients::new();
    let (_, letters) = dead(&clients, &["a"]).await;
    let plain = clients.emulator.queue("plain");
    let start = |source: &str, destination: Option<&str>| {
        let start = clients.sqs.start_message_move_task().source_arn(source);
        start.set_destination_arn(destination.map(String::from)).send()
    };
    let nowhere = "arn:aws:sqs:us-east-1:000000000000:nowhere";
    for (source, destination, code) in [
        (plain.arn(), None, "InvalidParameterValue"),
        (nowhere, None, "ResourceNotFoundException"),
        (letters.arn(), Some(nowhere), "ResourceNotFoundException"),
        (letters.arn(), Some(letters.arn()), "InvalidParameterValue"),
    ] {
        assert_eq!(error_code(&start(source, destination).await.unwrap_err()), code);
    }
    assert_eq!(letters.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_letter_that_never_was_in_another_queue_fails_the_task() {
    let clients = Clients::new();
    let (_, letters) = dead(&clients, &["a"]).await;
    letters.send("sent here directly");
    clients.sqs.start_message_move_task().source_arn(letters.arn()).send().await.unwrap();
    let task = task(&clients, letters.arn()).await;
    assert_eq!(task.failure_reason(), Some("CouldNotDetermineMessageSource"));
    assert_eq!(letters.bodies(), ["sent here directly"]);
}
