//! Worker names: everything that two workers of one process show names its worker.

use lifeline_consumer::{Failure, Message, Worker};
use lifeline_health::Health;
use tokio_util::sync::CancellationToken;

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn named_workers_keep_their_own_pulses_conditions_metrics_and_log_fields() {
    let log = Log::capture();
    let aws = emulator().await;
    let (orders, invoices) = (aws.queue("orders"), aws.queue("invoices"));
    orders.send_all(["1", "2"]);
    invoices.send("3");
    let pulses = lifeline_health::Pulses::with_clock(|| tokio::time::Instant::now().into_std());
    let metrics = lifeline_health::Metrics::new("test", &pulses);
    let health = Health { pulses, readiness: lifeline_health::Readiness::new(), metrics };
    let stop = CancellationToken::new();
    let mut runs = Vec::new();
    for name in ["orders", "invoices"] {
        let worker = Worker::on(name).clients(clients(&aws).await).name(name).health(&health);
        let run = worker.run(succeed, stop.clone().cancelled_owned());
        runs.push(tokio::spawn(run));
    }
    let deleted = |worker: &str| {
        metric(&health.metrics, &format!("consumer_messages_deleted_total{{worker=\"{worker}\"}}"))
    };
    aws.wait_for(|_| deleted("orders") == 2.0 && deleted("invoices") == 1.0, SOON).await;
    aws.wait_for(|_| health.readiness.reasons().is_empty(), SOON).await;
    let pulses: Vec<_> = health.pulses.ages().into_iter().map(|(name, _)| name).collect();
    for name in ["orders/poller-1", "invoices/poller-1", "orders/leases", "invoices/topology"] {
        assert!(pulses.iter().any(|pulse| pulse == name), "{name} is not in {pulses:?}");
    }
    assert!(pulses.iter().all(|pulse| pulse.contains('/')), "{pulses:?}");
    let conditions: Vec<_> = health.readiness.states().into_iter().map(|(name, _)| name).collect();
    assert!(conditions.iter().any(|name| name == "orders/aws"), "{conditions:?}");
    let text = health.metrics.render();
    let family = "# TYPE consumer_messages_deleted_total counter";
    assert_eq!(text.lines().filter(|line| *line == family).count(), 1, "{text}");
    stop.cancel();
    for run in runs {
        assert!(run.await.unwrap().unwrap().account.balances());
    }
    assert_eq!(log.lines_with("worker{worker=\"orders\"}: consumer: received"), 2, "{}", log.text());
    assert_eq!(log.lines_with("worker{worker=\"invoices\"}: consumer: deleted"), 1, "{}", log.text());
}

/// The contract's names, which a process with one worker shows.
#[tokio::test(start_paused = true)]
async fn a_worker_without_a_name_shows_none() {
    let log = Log::capture();
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send("one");
    let consumer = Consumer::start(&aws, "events", |_: Message| async { Ok::<(), Failure>(()) }).await;
    aws.wait_for(|_| queue.is_empty(), SOON).await;
    aws.wait_for(|_| consumer.metric("consumer_messages_deleted_total") == 1.0, SOON).await;
    assert!(!consumer.pulses.ages().iter().any(|(name, _)| name.contains('/')), "{:?}", consumer.pulses);
    assert!(!consumer.readiness.states().iter().any(|(name, _)| name.contains('/')));
    assert!(!consumer.metrics.render().contains("worker="));
    consumer.drain().await;
    assert!(!log.text().contains("worker{"), "{}", log.text());
}
