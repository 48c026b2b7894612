//! What handlers take: each form of a handler with each input, and messages that do not have that form.

use std::sync::Arc;

use lifeline_consumer::{Context, Failure, Handler, IntoHandler, Json, Message, OrFailure};

use crate::support::*;

#[derive(serde::Deserialize)]
struct Order {
    id: u64,
}

/// State in `self`.
struct Orders {
    seen: Seen<u64>,
}

impl Handler<Json<Order>> for Orders {
    async fn handle(&self, Json(order): Json<Order>, _: Context) -> Result<(), Failure> {
        self.seen.push(order.id);
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn every_form_of_a_handler_takes_what_it_asks_for() {
    let seen = Seen::default();
    let in_closure = |seen: &Seen<u64>| {
        let seen = seen.clone();
        move |body: String, context: Context| {
            let seen = seen.clone();
            async move {
                assert!(context.deadline() > tokio::time::Instant::now());
                seen.push(body.len() as u64);
                Ok::<(), Failure>(())
            }
        }
    };
    let with_attributes = {
        let seen = seen.clone();
        move |message: Message<Json<Order>>| {
            let seen = seen.clone();
            async move {
                assert_eq!(message.attribute("kind"), Some("order"));
                seen.push(message.body.0.id);
                Ok::<(), Failure>(())
            }
        }
    };
    let handlers = [
        Orders { seen: seen.clone() }.boxed(),
        in_closure(&seen).boxed(),
        with_attributes.boxed(),
        // one that is boxed already goes in as well
        Orders { seen: seen.clone() }.boxed().boxed(),
    ];
    for handler in handlers {
        let aws = emulator().await;
        let queue = aws.queue("events");
        queue.send(lifeline_emulator::Message::new(r#"{"id": 7}"#).attribute("kind", "order"));
        let consumer = Consumer::start(&aws, "events", handler).await;
        aws.wait_for(|_| queue.is_empty(), SOON).await;
        assert_eq!(consumer.drain().await.account, account(1, 1, 0, 0, 0));
    }
    assert_eq!(seen.all(), [7, 9, 7, 7]);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_cannot_be_decoded_fails_and_its_handler_is_not_called() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send_all(["{\"id\": 1}", "order 2"]);
    let seen = Seen::default();
    let consumer = Consumer::start(&aws, "events", Orders { seen: seen.clone() }).await;
    aws.wait_for(|_| !queue.history("order 2").visibility.is_empty() && seen.len() == 1, SOON).await;
    let account = consumer.drain().await.account;
    assert!(account.deleted == 1 && account.retried >= 1, "{account}");
    assert_eq!((seen.all(), queue.bodies()), (vec![1], vec!["order 2".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_handler_may_decide_what_a_body_that_cannot_be_decoded_means() {
    let aws = emulator().await;
    let dead = aws.queue("dead");
    let queue = aws.queue("events").dead_letters_to("dead", 5);
    queue.send("order 2");
    let handler = |order: Result<Json<Order>, serde_json::Error>| async move {
        let Json(order) = order.or_rejected()?;
        Err(Failure::failed(format!("there is no order {}", order.id)))
    };
    let consumer = Consumer::start(&aws, "events", handler).await;
    aws.wait_for(|_| dead.bodies() == ["order 2"] && queue.is_empty(), SOON).await;
    assert_eq!(consumer.drain().await.account, account(1, 1, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_a_message_is_decoded_fails_that_message_alone() {
    struct Picky;
    impl lifeline_consumer::FromMessage for Picky {
        type Error = Failure;
        fn from_message(message: &Message) -> Result<Self, Failure> {
            assert_ne!(message.body, "bad", "as scripted");
            Ok(Self)
        }
    }
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send_all(["bad", "good"]);
    let handled = Arc::new(Count::default());
    let counting = Arc::clone(&handled);
    let handler = move |_: Picky| {
        counting.add();
        async { Ok::<(), Failure>(()) }
    };
    let consumer = Consumer::start(&aws, "events", handler).await;
    aws.wait_for(|_| queue.deleted() == ["good"] && !queue.history("bad").visibility.is_empty(), SOON).await;
    let account = consumer.drain().await.account;
    assert!(account.deleted == 1 && account.retried >= 1, "{account}");
    assert_eq!((handled.get(), queue.bodies()), (1, vec!["bad".to_owned()]));
}
