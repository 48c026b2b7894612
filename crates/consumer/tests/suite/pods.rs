//! Several pods, and a message that kills each process that handles it.

use std::time::Duration;

use lifeline_consumer::{Failure, Message};
use lifeline_emulator::Emulator;
use tokio::sync::mpsc;

use crate::support::*;

/// A pod whose process is started again 5 s after it was killed.
async fn pod(aws: Emulator, takes: Duration, kills_after: Duration, handled: Seen<String>, deaths: Count) {
    loop {
        let (killed, mut kill) = mpsc::unbounded_channel();
        let seen = handled.clone();
        let handler = move |message: Message| {
            let (killed, handled) = (killed.clone(), seen.clone());
            async move {
                if message.body == "kills" {
                    tokio::time::sleep(kills_after).await;
                    killed.send(()).ok();
                    return std::future::pending().await;
                }
                tokio::time::sleep(takes).await;
                handled.push(message.body);
                Ok::<(), Failure>(())
            }
        };
        let consumer = Consumer::start(&aws, "events", handler).await;
        kill.recv().await;
        deaths.add();
        consumer.kill().await;
        tokio::time::sleep(5 * SECOND).await;
    }
}

/// At the first death 64 messages are in flight with it, and each of them comes back.
#[tokio::test(start_paused = true)]
async fn a_message_that_kills_slow_pods_takes_few_others_along() {
    for (pods, takes) in [(1, 10 * SECOND), (1, MINUTE), (2, 30 * SECOND)] {
        let aws = emulator().await;
        let dead = aws.queue("dead");
        let queue = aws.queue("events").dead_letters_to("dead", 5);
        queue.send_all((0..200).map(|n| if n == 30 { "kills".to_owned() } else { n.to_string() }));
        let (handled, deaths) = (Seen::default(), Count::default());
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..pods {
            tasks.spawn(pod(aws.clone(), takes, takes / 2, handled.clone(), deaths.clone()));
        }
        aws.wait_for(|_| queue.is_empty(), 30 * MINUTE).await;
        let letters = dead.bodies();
        println!("{pods} pods, {takes:?}: {} dead letters, {} deaths", letters.len(), deaths.get());
        assert!(letters.contains(&"kills".to_owned()) && deaths.get() <= 5, "{} deaths", deaths.get());
        assert!(letters.len() <= 6, "{pods} pods, {takes:?} each: {letters:?}");
        tasks.shutdown().await;
    }
}
