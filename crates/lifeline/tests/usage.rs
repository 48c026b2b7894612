//! The usage examples of the public API: they compile as a user would write them, and what can run, runs.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::unit_arg,
    clippy::unused_async,
    reason = "examples, of which a test runs a part"
)]

use std::time::Duration;

use lifeline::{
    Batch, Builder, Clients, Context, Failure, FailureKind, Handler, Health, Host, Json, Message, NewMessage,
    OrFailure, Publisher, QueueSpec, Settled, Stack, Worker, Workers,
};

#[derive(Debug, serde::Deserialize, serde::Serialize)]
struct Order {
    id: u64,
    total: i64,
}

/// A database of one's own.
#[derive(Debug, Default)]
struct Db;

#[derive(Debug)]
struct DbError {
    transient: bool,
}

impl std::fmt::Display for DbError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the database")
    }
}

impl std::error::Error for DbError {}

static DB: Db = Db;

impl Db {
    async fn connect(_: &str) -> Result<Self, DbError> {
        Ok(Self)
    }

    async fn insert(&self, _: &Order) -> Result<(), DbError> {
        Ok(())
    }

    async fn insert_all(&self, orders: impl Iterator<Item = &Order>) -> Result<Vec<usize>, DbError> {
        let refused = orders.enumerate().filter(|(_, order)| order.total < 0);
        Ok(refused.map(|(index, _)| index).collect())
    }
}

async fn invoice(message: Message) -> lifeline::Result {
    Ok(println!("{}", message.body))
}

mod a_whole_service {
    use super::*;

    #[derive(clap::Args)]
    struct Settings {
        #[arg(long, env)]
        database_url: String,
    }

    struct Orders {
        db: Db,
    }

    impl Handler<Json<Order>> for Orders {
        async fn handle(&self, Json(order): Json<Order>, _: Context) -> Result<(), Failure> {
            self.db.insert(&order).await.or_unavailable()?;
            Ok(())
        }
    }

    fn main() -> std::process::ExitCode {
        lifeline::run_with(async |settings: Settings, host: Host| {
            let orders = Orders { db: Db::connect(&settings.database_url).await? };
            lifeline::Result::Ok(
                Workers::new().add(host.worker(), orders).add(host.worker_named("invoices"), invoice),
            )
        })
    }
}

mod handlers {
    use super::*;

    async fn number(message: Message) -> anyhow::Result<()> {
        let number: u64 = message.body.trim().parse()?;
        Ok(println!("{number}, receive {}", message.receive_count))
    }

    async fn order(message: Message<Json<Order>>, context: Context) -> lifeline::Result {
        Ok(println!("{:?} {} until {:?}", message.attribute("kind"), message.body.0.id, context.deadline()))
    }

    fn workers(db: std::sync::Arc<Db>) -> Workers {
        let stored = move |Json(order): Json<Order>| {
            let db = db.clone();
            async move { db.insert(&order).await.or_unavailable() }
        };
        Workers::new()
            .add(Worker::on("numbers"), number)
            .add(Worker::on("orders"), order)
            .add(Worker::on("stored"), stored)
    }
}

mod failures {
    use anyhow::Context as _;

    use super::*;

    async fn bank(_: &Order) -> Result<(), DbError> {
        Err(DbError { transient: true })
    }

    async fn charge(order: &Order) -> anyhow::Result<()> {
        bank(order).await.or_unavailable().context("charging")?; // still unavailable for the caller
        Ok(())
    }

    async fn handle(Json(order): Json<Order>) -> anyhow::Result<()> {
        anyhow::ensure!(order.total >= 0, Failure::rejected("negative total"));
        anyhow::ensure!(
            order.total > 0,
            Failure::failed("not priced yet").retry_after(Duration::from_secs(60))
        );
        charge(&order).await?;
        let _receipt: u64 = "7".parse()?; // unmarked: failed
        Ok(())
    }

    #[derive(Debug)]
    enum OrderError {
        Db(DbError),
        Invalid(String),
    }

    impl std::fmt::Display for OrderError {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an order")
        }
    }

    impl std::error::Error for OrderError {}

    impl From<OrderError> for Failure {
        fn from(error: OrderError) -> Self {
            match error {
                OrderError::Db(_) => Failure::unavailable(error),
                OrderError::Invalid(_) => Failure::rejected(error),
            }
        }
    }

    async fn own(_: Json<Order>) -> Result<(), OrderError> {
        Err(OrderError::Invalid("empty".to_owned()))
    }

    fn worker() -> Builder {
        Worker::on("orders").classify(|error: &DbError| {
            if error.transient { FailureKind::Unavailable } else { FailureKind::Failed }
        })
    }

    #[tokio::test]
    async fn a_kind_is_found_wherever_it_was_stated() {
        let failure =
            |total| async move { Failure::from(handle(Json(Order { id: 1, total })).await.unwrap_err()) };
        assert_eq!(failure(-1).await.kind(), Some(FailureKind::Rejected));
        assert_eq!(failure(0).await.kind(), Some(FailureKind::Failed));
        assert_eq!(failure(1).await.kind(), Some(FailureKind::Unavailable));
        let own = own(Json(Order { id: 1, total: 1 })).await.unwrap_err();
        assert_eq!(Failure::from(own).kind(), Some(FailureKind::Rejected));
        let _workers =
            Workers::new().add(worker(), handle).add(Worker::on("own").name("own"), super::failures::own);
    }
}

mod contexts {
    use super::*;

    async fn convert(body: &str) -> Result<(), std::num::ParseIntError> {
        body.parse::<u64>().map(drop)
    }

    async fn notify(_: &str) -> Result<(), std::io::Error> {
        Ok(())
    }

    async fn handle(message: Message, context: Context) -> lifeline::Result {
        tokio::select! {
            done = convert(&message.body) => done?,
            reason = context.cancelled() => return Err(format!("stopped: {reason:?}").into()),
        }
        context.acknowledge().await?; // from here on it will not be delivered again
        tokio::time::timeout_at(context.deadline(), notify(&message.id)).await??;
        Ok(())
    }

    #[tokio::test]
    async fn a_handler_is_a_function() {
        handle(Message::new("7"), Context::for_test()).await.unwrap();
        handle(Message::new("seven"), Context::for_test()).await.unwrap_err();
        assert_eq!(Context::for_test().trace(), None);
    }
}

mod batches {
    use super::*;

    async fn bulk(batch: Batch<Json<Order>>) -> lifeline::Result<Settled> {
        let failed = DB.insert_all(batch.iter().map(|Json(order)| order)).await.or_unavailable()?;
        Ok(batch.settle(|index, _| {
            if failed.contains(&index) { Err(Failure::failed("violates a constraint")) } else { Ok(()) }
        }))
    }

    async fn one_by_one(batch: Batch<Message<Json<Order>>>) -> anyhow::Result<Settled> {
        Ok(batch.settle_each(async |order| DB.insert(&order.body.0).await.or_unavailable()).await)
    }

    #[tokio::test]
    async fn every_message_has_one_outcome() {
        let orders = [1, -1].map(|total| Json(Order { id: 1, total }));
        let settled = bulk(Batch::for_test(orders)).await.unwrap();
        assert_eq!(settled.failures().map(|(index, _)| index).collect::<Vec<_>>(), [1]);
        let message = Message::new("").with_body(Json(Order { id: 1, total: 1 }));
        let settled = one_by_one(Batch::for_test([message])).await.unwrap();
        assert_eq!(settled.failures().count(), 0);
    }

    fn workers() -> Workers {
        let bulky = Worker::on("bulk").name("bulk").max_in_flight(200).batch(100, Duration::from_secs(1));
        Workers::new().add(bulky, bulk).add(Worker::on("each"), one_by_one)
    }
}

mod layers {
    use lifeline::{Attempt, MemoryStore, handler};
    use tower::ServiceBuilder;
    use tower::limit::RateLimitLayer;
    use tower::timeout::TimeoutLayer;

    use super::*;

    fn workers() -> Workers {
        let orders = handler(invoice)
            .idempotent(MemoryStore::new(100_000, Duration::from_secs(3600)), |message| {
                Some(message.id.clone())
            })
            .layer(TimeoutLayer::new(Duration::from_secs(10)))
            .layer(RateLimitLayer::new(100, Duration::from_secs(1))); // each layer goes around those before it
        let invoices = handler(invoice)
            .layer(ServiceBuilder::new().concurrency_limit(8).timeout(Duration::from_secs(10)).into_inner());
        let plain = Stack::service(tower::service_fn(|attempt: Attempt| async move {
            lifeline::Result::Ok(println!("{}", attempt.message.body))
        }));
        let chosen = if cfg!(test) { handler(invoice).boxed() } else { plain.clone().boxed() };
        Workers::new()
            .add(Worker::on("orders"), orders)
            .add(Worker::on("invoices"), invoices)
            .add(Worker::on("plain"), plain)
            .add(Worker::on("chosen"), chosen)
    }
}

mod embedding {
    use lifeline_emulator::Emulator;

    use super::*;

    async fn handle(Json(order): Json<Order>) -> lifeline::Result {
        Ok(println!("order {}", order.id))
    }

    /// An application that has a runtime, an HTTP server and metrics already.
    async fn serve(
        clients: Clients,
        stop: tokio_util::sync::CancellationToken,
        until: impl Future<Output = ()>,
    ) -> anyhow::Result<String> {
        let health = Health::new(env!("CARGO_PKG_VERSION"));
        let events = QueueSpec::from("orders").subscribed_to("events").provision(true).max_receives(5);
        let orders = Worker::on(events)
            .name("orders")
            .clients(clients.clone())
            .health(&health)
            .wait_time(Duration::from_secs(1));
        let plain = Worker::on("arn:aws:sqs:us-east-1:000000000000:invoices")
            .name("invoices")
            .clients(clients.clone())
            .health(&health)
            .wait_time(Duration::from_secs(1))
            .max_in_flight(8);
        let publisher =
            Publisher::to("events").name("events").clients(clients).health(&health).start().await?;
        let workers = Workers::new().add(orders, handle).add(plain, invoice).after(publisher.close());
        let handles = workers.handles();
        let draining = tokio::spawn(workers.run(stop.clone().cancelled_owned()));
        assert!(health.liveness().is_up(), "{}", health.liveness().to_json());
        handles[1].pause(); // receives stop; what is in flight goes on
        println!("{} {:?}", handles[1].summary(), handles[1].state());
        handles[1].resume();
        until.await;
        assert!(health.prometheus_text().contains("consumer_messages_received_total{worker=\"invoices\"} 1"));
        stop.cancel();
        Ok(draining.await??.to_string())
    }

    #[tokio::test]
    async fn workers_run_in_an_application_of_ones_own() {
        let emulator = Emulator::new();
        let invoices = emulator.queue("invoices");
        invoices.send("one");
        let clients = Clients::from_sdk_config(&emulator.sdk_config()).unwrap();
        let drained = serve(clients, Default::default(), invoices.settled()).await.unwrap();
        assert!(drained.starts_with("received=1 deleted=1 "), "{drained}");
    }
}

mod publishing {
    use futures_util::StreamExt as _;
    use lifeline_emulator::Emulator;

    use super::*;

    fn keep(_: Option<NewMessage>) {}

    async fn forward(
        message: Message,
        context: Context,
        publisher: &Publisher,
        to_fifo: &Publisher,
    ) -> anyhow::Result<()> {
        let receipt = publisher.publish(r#"{"id": 7}"#).await?; // batched with what others publish meanwhile
        println!("{} {:?}", receipt.message_id, receipt.sequence_number);
        let event = NewMessage::json(&Order { id: 7, total: 1 })?
            .subject("order placed")
            .attribute("kind", "order")
            .attribute("total", 8650)
            .group("customer-7")
            .deduplication_id(format!("order-of-{}", message.id)) // a retry of this handler publishes nothing twice
            .continue_trace(context.trace());
        to_fifo.publish(event).await?; // await it before Ok(()): else the message is deleted and its event may be lost
        if let Err(error) = publisher.publish("x").await {
            println!("{error}; may have been published: {}", error.may_have_been_published());
            keep(error.into_message());
        }
        Ok(())
    }

    async fn copy(
        publisher: Publisher,
        lines: impl futures_util::Stream<Item = String> + Send,
    ) -> anyhow::Result<()> {
        let mut results = std::pin::pin!(publisher.publish_all(lines).enumerate()); // in the order of the input
        while let Some((line, result)) = results.next().await {
            result.inspect_err(|error| println!("line {line}: {error}")).ok();
        }
        publisher.close().await; // takes no more; everything accepted has its result
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_publishes_and_what_fails_is_no_fault_of_its_message() {
        let emulator = Emulator::new();
        let (topic, fifo) = (emulator.topic("events"), emulator.topic("events.fifo"));
        let clients = Clients::from_sdk_config(&emulator.sdk_config()).unwrap();
        let to_fifo = Publisher::to("events.fifo").clients(clients.clone()).start().await.unwrap();
        let publisher = Publisher::to("events").clients(clients).start().await.unwrap();
        forward(Message::new("1"), Context::for_test(), &publisher, &to_fifo).await.unwrap();
        copy(publisher.clone(), futures_util::stream::iter(["a".to_owned(), "b".to_owned()])).await.unwrap();
        assert_eq!((topic.messages().len(), fifo.messages().len()), (4, 1));
        let closed = forward(Message::new("1"), Context::for_test(), &publisher, &to_fifo).await.unwrap_err();
        assert_eq!(Failure::from(closed).kind(), Some(FailureKind::Unavailable));
        let invalid = anyhow::Error::from(publisher.publish("").await.unwrap_err());
        assert_eq!(Failure::from(invalid).kind(), None, "it is about what was to be published");
    }
}

mod testing {
    use lifeline_emulator::{Action, Emulator, Fault};

    use super::*;

    async fn store(Json(order): Json<Order>, _: Context) -> lifeline::Result {
        if order.total < 0 {
            return Err(Failure::rejected("negative total").into());
        }
        DB.insert(&order).await.or_unavailable()?;
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn an_order_survives_a_reset_delete() {
        let emulator = Emulator::new(); // no socket; one for each test
        let queue = emulator.queue("orders").max_receives(5);
        queue.send(r#"{"id": 7, "total": 1}"#);
        let reset = emulator.inject(Fault::on(Action::DeleteMessageBatch).nth(1).reset_after_effect());
        emulator.inject(Fault::on(Action::ReceiveMessage).nth(2).hang());
        let clients = Clients::from_sdk_config(&emulator.sdk_config()).unwrap();
        let worker = Worker::on(queue.url()).clients(clients).build().await.unwrap();
        let drained = worker.run(store, queue.settled()).await; // until nothing is visible, delayed or in flight
        assert_eq!((drained.account.deleted, reset.hits()), (1, 1)); // a fault that was never met proves nothing
        assert!(queue.dead_letters().is_empty() && emulator.calls(Action::ReceiveMessage) < 10);
    }

    #[tokio::test]
    async fn a_negative_order_is_rejected() {
        let error = store(Json(Order { id: 7, total: -1 }), Context::for_test()).await.unwrap_err(); // a handler is a function
        assert_eq!(Failure::from(error).kind(), Some(FailureKind::Rejected));
    }

    #[tokio::test]
    async fn what_is_out_of_bounds_is_an_error_and_all_of_it_at_once() {
        let emulator = Emulator::new();
        let clients = Clients::from_sdk_config(&emulator.sdk_config()).unwrap();
        let worker = Worker::on("orders")
            .clients(clients)
            .pollers(0)
            .max_in_flight(0)
            .rate_limit(0, Duration::from_secs(1));
        let error = worker.build().await.unwrap_err().to_string();
        assert_eq!(error.lines().count(), 3, "{error}");
        assert!(error.contains("max_in_flight(0): invalid value; expected 1 to 120000"), "{error}");
    }
}
