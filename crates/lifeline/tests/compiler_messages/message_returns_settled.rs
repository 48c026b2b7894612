use lifeline::{Batch, Failure, Message, Settled};

async fn handle(_: Message) -> Result<Settled, Failure> {
    Ok(Batch::for_test([1]).succeed())
}

fn main() {
    lifeline::run(handle);
}
