use lifeline::{Failure, Json};

struct Order;

async fn handle(_: Json<Order>) -> Result<(), Failure> {
    Ok(())
}

fn main() {
    lifeline::run(handle);
}
