use lifeline::{Batch, Failure, Json, Settled};

struct Order;

async fn handle(batch: Batch<Json<Order>>) -> Result<Settled, Failure> {
    Ok(batch.succeed())
}

fn main() {
    lifeline::run(handle);
}
