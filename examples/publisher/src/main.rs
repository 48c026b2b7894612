//! Publishes three orders to the topic `events`, and prints what became of each.

use std::error::Error;

use lifeline::{NewMessage, Publisher, TopicRef};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let topic = TopicRef::Name("events".to_owned());
    let publisher = Publisher::to(topic).provision(true).wait_for_subscription(false).start().await?;
    for id in 1..=3 {
        let body = format!("{{\"id\": {id}, \"customer\": \"c-{id}\", \"total\": 4.5}}");
        // batched with others, retried within a deadline, and confirmed by SNS, or an error says why not
        let receipt = publisher.publish(NewMessage::new(body).attribute("kind", "order")).await?;
        println!("published {}", receipt.message_id);
    }
    publisher.close().await;
    Ok(())
}
