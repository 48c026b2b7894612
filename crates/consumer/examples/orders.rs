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

use lifeline_consumer::service::{Args, Config, run_handler};
use lifeline_consumer::{Context, Drained, Failure, Handler, Message};
use lifeline_service::Host;

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

async fn serve(config: Config, host: Host) -> anyhow::Result<Drained> {
    run_handler(config.consumer, Orders, host).await
}

fn main() -> std::process::ExitCode {
    lifeline_service::main::<Args, _, _>(serve)
}
