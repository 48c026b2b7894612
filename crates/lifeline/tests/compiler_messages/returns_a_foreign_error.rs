use lifeline::Message;

struct OrderError;

async fn handle(_: Message) -> Result<(), OrderError> {
    Err(OrderError)
}

fn main() {
    lifeline::run(handle);
}
