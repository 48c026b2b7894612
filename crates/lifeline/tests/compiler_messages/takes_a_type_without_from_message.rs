use lifeline::Failure;

struct Order;

async fn handle(_: Order) -> Result<(), Failure> {
    Ok(())
}

fn main() {
    lifeline::run(handle);
}
