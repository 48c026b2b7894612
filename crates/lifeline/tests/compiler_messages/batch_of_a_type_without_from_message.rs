use lifeline::{Batch, Failure, Settled};

struct Order;

async fn handle(batch: Batch<Order>) -> Result<Settled, Failure> {
    Ok(batch.succeed())
}

fn main() {
    lifeline::run(handle);
}
