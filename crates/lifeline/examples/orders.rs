//! A whole service with your own handler. Try it with the SNS and SQS that `lifeline` brings along:
//!
//! ```sh
//! lifeline aws &
//! export AWS_ENDPOINT_URL=http://127.0.0.1:4566 AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test
//! cargo run -p lifeline --example orders
//! ```
#![allow(clippy::print_stdout, reason = "an example")]

use lifeline::{Context, Failure, Json};

#[derive(serde::Deserialize)]
struct Order {
    id: u64,
}

async fn handle(Json(order): Json<Order>, context: Context) -> Result<(), Failure> {
    println!("order {}, leased for {:?}", order.id, context.lease_remaining());
    Ok(())
}

fn main() -> std::process::ExitCode {
    lifeline::run(handle)
}
