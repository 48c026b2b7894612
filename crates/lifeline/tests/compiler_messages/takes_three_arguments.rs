use lifeline::{Context, Failure, Message};

struct Db;

async fn handle(_: Message, _: Context, _: Db) -> Result<(), Failure> {
    Ok(())
}

fn main() {
    lifeline::run(handle);
}
