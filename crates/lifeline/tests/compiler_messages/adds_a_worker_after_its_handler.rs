use lifeline::{Failure, Message, Worker, Workers};

async fn handle(_: Message) -> Result<(), Failure> {
    Ok(())
}

fn main() {
    let _workers = Workers::new().add(handle, Worker::on("orders"));
}
