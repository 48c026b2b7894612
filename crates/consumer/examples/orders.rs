//! A handler of one's own. Try it against the SNS and SQS that `lifeline` brings along:
//!
//! ```sh
//! lifeline aws &
//! AWS_ENDPOINT_URL=http://127.0.0.1:4566 cargo run -p consumer --example orders
//! ```
//!
//! and publish numbers to the topic `events`: `seq 9 | TOPIC_NAME=events INPUT=- producer`. What is no number fails, comes
//! back after a growing delay, and ends in the dead-letter queue.
#![allow(clippy::print_stdout, reason = "an example")]

use lifeline_consumer::settings::{PROGRAM, Settings};
use lifeline_consumer::{Context, Failure, Handler, Message, Worker};
use lifeline_messaging::client::Clients;

struct Orders;

impl Handler for Orders {
    async fn handle(&self, message: Message, context: Context) -> Result<(), Failure> {
        let order: u64 = message.body.trim().parse()?; // any error fails the message
        println!(
            "order {order}, delivery {}, ours for {:?}",
            message.receive_count,
            context.lease_remaining()
        );
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // the consumer's own settings; a program of one's own may as well write `QueueSpec { … }`
    let settings = Settings::read(&PROGRAM.invocation().values)?;
    settings.log.clone().install();
    let stop = lifeline_service::signals::on_signals(settings.grace)?;
    let clients = Clients::connect(&settings.access).await?;
    let worker = Worker::builder(clients, settings.queue)
        .max_in_flight(settings.max_in_flight)
        .wait_time(settings.wait_time)
        .shutdown_grace(settings.grace);
    let drained = worker.run(Orders, stop.cancelled_owned()).await;
    println!("drained {}", drained.account);
    Ok(())
}
