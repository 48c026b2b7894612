use lifeline::{Context, Failure, Message};

async fn handle(_: Context, _: Message) -> Result<(), Failure> {
    Ok(())
}

fn main() {
    lifeline::run(handle);
}
