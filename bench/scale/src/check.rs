//! Model, simulation and measurement side by side.

use std::time::Duration;

use anyhow::{Result, ensure};
use wire::Wire;

use crate::figures::Figures;
use crate::measure;
use crate::model::{self, Bound};
use crate::programs::Programs;
use crate::sim::Place;
use crate::sim::consumer::{self, Load, Pod};
use crate::sim::producer::{self, Input};

/// How far the simulation may be from the measurement, where the wire and not this machine is the limit.
pub(crate) const BOUND: f64 = 0.10;

/// A rate that needs less than this share of this machine's processor time is the wire's doing.
const SHARE: f64 = 0.35;

/// Each run is for about so long, so that all of them take a few minutes.
const RUN: f64 = 6.0;

/// A row of the table.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) round_trip: Duration,
    pub(crate) model: f64,
    pub(crate) bound: Bound,
    pub(crate) simulated: f64,
    pub(crate) measured: f64,
    /// Calls a message, simulated and measured.
    pub(crate) calls: (f64, f64),
    pub(crate) connections: (usize, u64),
    pub(crate) judged: bool,
}

impl Row {
    pub(crate) fn off(&self) -> f64 {
        self.simulated / self.measured - 1.0
    }

    fn passed(&self) -> bool {
        !self.judged || self.off().abs() <= BOUND
    }

    fn line(&self) -> String {
        format!(
            "| {} | {} ms | {:.0} ({}) | {:.0} | {:.0} | {:+.1} %{} | {:.2} | {:.2} | {} | {} |",
            self.name,
            self.round_trip.as_millis(),
            self.model,
            self.bound,
            self.simulated,
            self.measured,
            self.off() * 100.0,
            if self.judged { "" } else { " (not judged)" },
            self.calls.0,
            self.calls.1,
            self.connections.0,
            self.connections.1,
        )
    }
}

pub(crate) const HEAD: &str = "\
| pod | round trip | model | simulated | measured | off by | calls a message, simulated | measured | connections, simulated | measured |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |";

const PODS: [(usize, usize, u64); 5] =
    [(4, 64, 0), (16, 500, 0), (64, 2000, 0), (4, 64, 100), (16, 500, 100)];
const BODIES: [usize; 3] = [200, 10_000, 200_000];

/// Runs everything; fails when the simulation is off by more than [`BOUND`].
pub(crate) async fn run(
    programs: &Programs,
    figures: &Figures,
    round_trips: &[Duration],
    only: Option<&str>,
) -> Result<()> {
    let mut rows = Vec::new();
    println!("{HEAD}");
    for round_trip in round_trips {
        let wire = Wire { round_trip: *round_trip, setup_trips: 1 };
        let service = measure::service(programs, wire).await?;
        let wanted = |name: &str| only.is_none_or(|only| name.contains(only));
        for (pollers, max_in_flight, handler) in PODS {
            let pod = Pod { pollers, max_in_flight, handler: Duration::from_millis(handler) };
            let place = place(wire, service, figures.consumer.cpu_us_per_message);
            if wanted(&consumer_name(&pod)) {
                rows.push(drained(programs, wire, pod, place).await?);
                println!("{}", rows[rows.len() - 1].line());
            }
        }
        for bytes in BODIES {
            if wanted(&producer_name(bytes)) {
                let place = place(wire, service, figures.producer.cpu_us_per_message);
                rows.push(published(programs, wire, bytes, place).await?);
                println!("{}", rows[rows.len() - 1].line());
            }
        }
    }
    let failed: Vec<_> = rows.iter().filter(|row| !row.passed()).map(|row| row.line()).collect();
    ensure!(failed.is_empty(), "off by more than {:.0} %:\n{}", BOUND * 100.0, failed.join("\n"));
    Ok(())
}

fn place(wire: Wire, service: Duration, cost_us: f64) -> Place {
    Place {
        round_trip: wire.round_trip,
        setup_trips: wire.setup_trips,
        service,
        message_cost: Duration::from_secs_f64(cost_us / 1e6),
        cores: 2,
    }
}

/// Whether the wire is the limit: the endpoint, the wire's own process and the client share this machine.
fn judged(wire: Wire, rate: f64, place: &Place) -> bool {
    // the endpoint's share of a message is about the client's
    let needed = rate * place.message_cost.as_secs_f64() * 2.0;
    wire.round_trip >= Duration::from_millis(20) && needed < SHARE * place.cores as f64
}

fn consumer_name(pod: &Pod) -> String {
    let handler = if pod.handler.is_zero() { String::new() } else { format!(", handler {:?}", pod.handler) };
    format!("consumer {}/{}{handler}", pod.max_in_flight, pod.pollers)
}

fn producer_name(bytes: usize) -> String {
    match bytes {
        1000.. => format!("producer, {} kB", bytes / 1000),
        _ => format!("producer, {bytes} B"),
    }
}

async fn drained(programs: &Programs, wire: Wire, pod: Pod, place: Place) -> Result<Row> {
    let model = model::drain(&pod, &place);
    let messages = runs_for(model.messages, 2000);
    let simulated = consumer::run(pod, place, Load::Backlog(messages));
    let measured = measure::drain(programs, wire, pod, messages).await?;
    let calls = measured.counts.of("ReceiveMessage") + measured.counts.of("DeleteMessageBatch");
    Ok(Row {
        name: consumer_name(&pod),
        round_trip: wire.round_trip,
        model: model.messages,
        bound: model.bound,
        simulated: simulated.course.steady_rate(),
        measured: measured.course.steady_rate(),
        calls: (simulated.calls_per_message(), calls as f64 / messages as f64),
        connections: (simulated.connections, measured.counts.opened),
        judged: judged(wire, model.messages, &place),
    })
}

async fn published(programs: &Programs, wire: Wire, bytes: usize, place: Place) -> Result<Row> {
    let model = model::publish(bytes, &place);
    let most = 400_000_000 / bytes as u64;
    let messages = runs_for(model.messages, 200).min(most);
    let input = Input { messages, bytes, rate: None };
    let simulated = producer::run(input, place);
    let measured = measure::publish(programs, wire, input).await?;
    Ok(Row {
        name: producer_name(bytes),
        round_trip: wire.round_trip,
        model: model.messages,
        bound: model.bound,
        simulated: simulated.course.steady_rate(),
        measured: measured.course.steady_rate(),
        calls: (
            simulated.calls as f64 / messages as f64,
            measured.counts.of("PublishBatch") as f64 / messages as f64,
        ),
        connections: (simulated.connections, measured.counts.opened),
        judged: judged(wire, model.messages, &place),
    })
}

/// Messages for a run, in tens.
fn runs_for(rate: f64, least: u64) -> u64 {
    ((rate * RUN) as u64).clamp(least, 60_000) / 10 * 10
}
