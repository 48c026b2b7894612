//! The pipeline as the page draws it, and the switches that break it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::BoxFuture;
use lifeline_emulator::{Action, Emulator};
use lifeline_health::{Health, IntCounter, IntGauge};
use serde_json::{Value, json};

use super::events::Events;
use super::replaced::Replaced;
use super::watched::{Broken, POISON};
use crate::page::{Pipeline, Switch};

/// What the page draws.
#[derive(Debug)]
pub(super) struct Picture {
    pub(super) emulator: Emulator,
    pub(super) progress: lifeline_producer::Progress,
    pub(super) producer: (Health, SocketAddr),
    pub(super) consumer: (Health, SocketAddr),
    pub(super) counted: Counted,
    pub(super) names: Names,
    pub(super) replaced: Arc<Replaced>,
    pub(super) broken: Arc<Broken>,
    pub(super) events: Events,
}

/// What is where.
#[derive(Debug, Clone)]
pub(super) struct Names {
    pub(super) input: String,
    pub(super) handler: String,
    pub(super) topic: String,
    pub(super) queue: String,
    pub(super) dead_letters: String,
}

/// The consumer's own metrics.
#[derive(Debug)]
pub(super) struct Counted {
    counters: [(&'static str, IntCounter); 5],
    gauges: [(&'static str, IntGauge); 2],
    breaker: IntGauge,
}

impl Counted {
    /// Those of a consumer that runs already: a metric that exists is handed out again.
    pub(super) fn of(health: &Health) -> Self {
        let counter = |name| (name, health.metrics.counter(&format!("consumer_messages_{name}_total"), ""));
        let gauge = |name: &str| health.metrics.int_gauge(name, "");
        Self {
            counters: ["received", "deleted", "retried", "released", "lost_lease"].map(counter),
            gauges: [
                ("in_flight", gauge("consumer_in_flight_messages")),
                ("pollers", gauge("consumer_pollers")),
            ],
            breaker: gauge("consumer_handler_unavailable"),
        }
    }
}

fn service((health, address): &(Health, SocketAddr)) -> Value {
    let stale = health.pulses.stale();
    let ages = health.pulses.ages().into_iter().map(|(name, age)| json!([name, age.as_secs_f64()]));
    json!({
        "address": address.to_string(),
        "up": stale.is_empty(),
        "stale": stale,
        "reasons": health.readiness.reasons(),
        "pulses": ages.collect::<Vec<_>>(),
    })
}

impl Pipeline for Picture {
    fn state(&self) -> Value {
        let Self { progress, counted, names, broken, .. } = self;
        let (mut producer, mut consumer) = (service(&self.producer), service(&self.consumer));
        producer["input"] = names.input.as_str().into();
        producer["published"] = progress.published().into();
        producer["rejected"] = progress.rejected().into();
        for (name, counter) in &counted.counters {
            consumer[name] = counter.get().into();
        }
        for (name, gauge) in &counted.gauges {
            consumer[name] = gauge.get().into();
        }
        consumer["breaker"] = (counted.breaker.get() > 0).into();
        consumer["restarts"] = self.replaced.restarts().into();
        let (spent, handled) =
            (broken.spent.0.load(Ordering::Relaxed), broken.spent.1.load(Ordering::Relaxed));
        json!({
            "producer": producer,
            "consumer": consumer,
            "handler": {
                "what": names.handler,
                "failed": broken.failed.load(Ordering::Relaxed),
                "millis": (handled > 0).then(|| spent as f64 / handled as f64 / 1000.0),
            },
            "topic": names.topic,
            "queue": names.queue,
            "dead_letters": names.dead_letters,
            "switches": {
                "hang": self.replaced.is_hung(),
                "unavailable": broken.unavailable.load(Ordering::Relaxed),
                "poison": broken.poison.load(Ordering::Relaxed),
            },
            "events": self.events.list(),
            "recent": broken.recent.list(),
        })
    }

    fn switch(&self, switch: Switch, on: bool) -> BoxFuture<'static, Result<(), String>> {
        match switch {
            Switch::Hang => self.replaced.hang(on),
            Switch::Unavailable => self.broken.unavailable.store(on, Ordering::Relaxed),
            Switch::Poison => self.broken.poison.store(on, Ordering::Relaxed),
        }
        let text = match (switch, on) {
            (Switch::Hang, true) => "every thread of the consumer blocks",
            (Switch::Hang, false) => "the consumer's threads go on",
            (Switch::Unavailable, true) => "the handler reports its dependency as unavailable",
            (Switch::Unavailable, false) => "the handler's dependency is available again",
            (Switch::Poison, true) => "a message is published that the handler fails for",
            (Switch::Poison, false) => "the handler is repaired; redrive what became a dead letter",
        };
        self.events.done(text);
        let (emulator, topic) = (self.emulator.clone(), self.names.topic.clone());
        Box::pin(async move {
            if switch == Switch::Poison && on { publish_poison(&emulator, &topic).await } else { Ok(()) }
        })
    }
}

async fn publish_poison(emulator: &Emulator, topic: &str) -> Result<(), String> {
    let found = emulator.topics().into_iter().find(|found| found.name == topic);
    let topic = found.ok_or_else(|| format!("there is no topic {topic}"))?;
    let mut request = json!({
        "TopicArn": topic.arn,
        "Message": r#"{"poisoned": "at the page"}"#,
        "MessageAttributes": {POISON: {"DataType": "String", "StringValue": "true"}},
    });
    if topic.fifo {
        let number = format!("poison-{}", fastrand::u64(..));
        request["MessageGroupId"] = number.as_str().into();
        request["MessageDeduplicationId"] = number.into();
    }
    emulator.call(Action::Publish, request).await.map(|_| ()).map_err(|refused| refused.to_string())
}
