//! Orders that are stored several at once, each with an outcome of its own.

use std::process::ExitCode;
use std::time::Duration;

use lifeline::{Batch, Failure, Host, Json, OrFailure, Settled, Workers};

#[derive(serde::Deserialize)]
struct Order {
    id: u64,
    total: f64,
}

async fn handle(batch: Batch<Json<Order>>) -> lifeline::Result<Settled> {
    // an error here fails all of them, or finds the database unavailable for all
    let refused = insert_all(&batch).or_unavailable()?;
    println!("stored {} orders at once", batch.len() - refused.len());
    Ok(batch.settle(|index, Json(order)| {
        if refused.contains(&index) {
            return Err(Failure::failed(format!("order {} costs nothing", order.id)));
        }
        println!("order {} is stored", order.id);
        Ok(())
    }))
}

/// As a database with a constraint would: those that it refused, by their index.
fn insert_all(batch: &Batch<Json<Order>>) -> std::io::Result<Vec<usize>> {
    let orders = batch.iter().enumerate();
    Ok(orders.filter(|(_, Json(order))| order.total == 0.0).map(|(index, _)| index).collect())
}

fn main() -> ExitCode {
    lifeline::run_with(async |(), host: Host| {
        // up to 100 at once, which are waited for up to half a second
        let worker = host.worker().max_in_flight(100).batch(100, Duration::from_millis(500));
        lifeline::Result::Ok(Workers::new().add(worker, handle))
    })
}
