use std::rc::Rc;

use lifeline::{Failure, Message};

async fn handle(message: Message) -> Result<(), Failure> {
    let body = Rc::new(message.body);
    std::future::ready(()).await;
    println!("{body}");
    Ok(())
}

fn main() {
    lifeline::run(handle);
}
