//! A message as a type of its own, state that handlers share, and middleware.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use lifeline::{Context, Failure, FromMessage, Message};

/// An order that was checked: a handler that takes one never sees another.
struct Order {
    id: u64,
    customer: String,
    cents: u64,
}

#[derive(serde::Deserialize)]
struct Body {
    id: u64,
    customer: String,
    total: f64,
}

impl FromMessage for Order {
    type Error = Failure;

    fn from_message(message: &Message) -> Result<Self, Failure> {
        let Body { id, customer, total } = serde_json::from_str(&message.body)?;
        if total <= 0.0 {
            return Err(Failure::failed(format!("order {id}: a total of {total} is not one")));
        }
        Ok(Self { id, customer, cents: (total * 100.0).round() as u64 })
    }
}

/// What each customer has spent. Messages may come twice: an order counts once.
#[derive(Default)]
struct Revenue(Mutex<BTreeMap<u64, u64>>);

impl Revenue {
    fn add(&self, order: &Order) -> u64 {
        let mut orders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        orders.insert(order.id, order.cents);
        orders.values().sum()
    }
}

async fn handle(order: Order, revenue: Arc<Revenue>) -> Result<(), Failure> {
    let cents = revenue.add(&order);
    println!("order {} of {}: revenue {}.{:02}", order.id, order.customer, cents / 100, cents % 100);
    Ok(())
}

/// Middleware is a function around the future of a handler: this one reports how long it took.
async fn timed(name: &str, handler: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let begun = Instant::now();
    let result = handler.await;
    let outcome = if result.is_ok() { "handled" } else { "failed" };
    println!("{name} {outcome} in {:?}", begun.elapsed());
    result
}

/// And this one ends a handler that is asked to stop, at a shutdown or because the lease is lost.
async fn cancellable(
    context: Context,
    handler: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let mut handler = std::pin::pin!(handler);
    let mut cancelled = std::pin::pin!(context.cancelled());
    std::future::poll_fn(|task| {
        if let std::task::Poll::Ready(why) = cancelled.as_mut().poll(task) {
            return std::task::Poll::Ready(Err(Failure::failed(format!("stopped: {why:?}"))));
        }
        handler.as_mut().poll(task)
    })
    .await
}

fn main() -> ExitCode {
    let revenue = Arc::new(Revenue::default());
    lifeline::run(move |order: Order, context: Context| {
        let revenue = Arc::clone(&revenue);
        timed("order", cancellable(context, handle(order, revenue)))
    })
}
