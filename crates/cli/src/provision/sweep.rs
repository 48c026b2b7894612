//! `lifeline provision --sweep`: removes what a killed `lifeline tail` left.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::SystemTime;

use lifeline_messaging::client::Clients;

use crate::temporary;

pub(super) async fn run(clients: &Clients, dry_run: bool, json: bool) -> anyhow::Result<ExitCode> {
    let expired = temporary::expired(clients, SystemTime::now()).await?;
    let mut out = io::stdout();
    for queue in &expired {
        if !dry_run {
            temporary::sweep(clients, queue).await?;
        }
        if json {
            writeln!(out, "{}", serde_json::to_string(queue)?)?;
        } else {
            let subscription = queue.subscription.as_deref().unwrap_or("none");
            writeln!(out, "- queue {}, subscription {subscription}", queue.queue)?;
        }
    }
    if !json {
        let what = if dry_run { "to remove" } else { "removed" };
        writeln!(out, "{} temporary queues {what}", expired.len())?;
    }
    Ok(ExitCode::SUCCESS)
}
