use std::sync::Mutex;

use lifeline::{Context, Failure, Handler, Message};

#[derive(Default)]
struct Orders {
    bodies: Mutex<Vec<String>>,
}

impl Handler for Orders {
    async fn handle(&self, message: Message, _: Context) -> Result<(), Failure> {
        let mut bodies = self.bodies.lock().unwrap();
        std::future::ready(()).await;
        bodies.push(message.body);
        Ok(())
    }
}

fn main() {
    lifeline::run(Orders::default());
}
