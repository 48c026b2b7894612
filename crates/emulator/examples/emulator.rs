//! Serves SNS and SQS on an address: `cargo run -p lifeline-emulator --example emulator -- 127.0.0.1:4566`.
//!
//! Further arguments are faults, such as `'ReceiveMessage: nth=3 hang'`.
#![allow(clippy::print_stdout, reason = "an example prints where it listens")]

use std::{error::Error, net::SocketAddr};

use lifeline_emulator::Emulator;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address: SocketAddr = arguments.next().as_deref().unwrap_or("127.0.0.1:4566").parse()?;
    let on = |name: &str| std::env::var(name).is_ok_and(|value| value == "true");
    let mut builder = Emulator::builder().journal(false).enforce_policies(on("ENFORCE_POLICIES"));
    for fault in arguments {
        builder = builder.fault(fault.parse()?);
    }
    let emulator = builder.listen(address).await?;
    println!("{}", emulator.endpoint_url().unwrap_or_default());
    std::future::pending().await
}
