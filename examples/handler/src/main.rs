use lifeline::{Failure, Json};

#[derive(serde::Deserialize)]
struct Order {
    id: u64,
    total: f64,
}

async fn handle(Json(order): Json<Order>) -> Result<(), Failure> {
    if order.total == 0.0 {
        // redelivered after a growing delay, and in the dead-letter queue after MAX_RECEIVES
        return Err(Failure::failed(format!("order {} costs nothing", order.id)));
    }
    println!("order {} costs {:.2}", order.id, order.total);
    Ok(()) // only now it is deleted
}

fn main() -> std::process::ExitCode {
    lifeline::run(handle)
}
