use lifeline::Message;

async fn handle(message: Message) {
    println!("{}", message.body);
}

fn main() {
    lifeline::run(handle);
}
