use lifeline::{Failure, Message};

async fn handle(_: Message) -> Result<(), Failure> {
    Ok(())
}

fn main() {
    lifeline::run(handle(Message::new("x")));
}
