use lifeline::{Failure, Message};

fn handle(_: Message) -> Result<(), Failure> {
    Ok(())
}

fn main() {
    lifeline::run(handle);
}
