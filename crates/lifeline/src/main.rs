//! The `lifeline` command.

use std::net::SocketAddr;

use anyhow::Context;
use clap::{Arg, Command};
use lifeline::aws::EmbeddedAws;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().init();
    let listen = Arg::new("listen").long("listen").value_name("ADDR").default_value("127.0.0.1:4566");
    let aws = Command::new("aws").about("The embedded SNS and SQS alone").arg(listen);
    let matches = Command::new("lifeline").subcommand_required(true).subcommand(aws).get_matches();
    if let Some(("aws", matches)) = matches.subcommand() {
        let listen = matches.get_one::<String>("listen").map_or("", String::as_str);
        let addr: SocketAddr =
            listen.parse().with_context(|| format!("--listen {listen}: not ADDRESS:PORT"))?;
        let aws = EmbeddedAws::bind(addr).await?;
        tracing::info!("SNS and SQS at {}", aws.url());
        aws.serve(shutdown()).await;
    }
    Ok(())
}

async fn shutdown() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
