//! Runs a whole comparison: rates in rounds, then starts, stops, latencies, calls and idle contenders.
//!
//! Each round runs every contender once in each of its cells, so that disturbances of the machine affect all of them.

use std::future::Future;
use std::time::Duration;

use crate::contender::Contender;
use crate::lab::Lab;
use crate::latency::{heavy, light, most};
use crate::life::{calls, first_message, idle, stop_busy};
use crate::results::{Cell, Latency, Life, Load, Results};
use crate::span::{percentile, thinned};
use crate::stage::{Delivery, Transport};
use crate::throughput::{Plan, Way};

/// Messages in flight: all of the matrix is measured for Lifeline and the bare loop.
pub const IN_FLIGHT: [usize; 3] = [64, 8, 1];
/// Bytes of a body.
pub const BODIES: [usize; 3] = [200, 10_000, 200_000];
/// The cells in which the others are measured: messages in flight, bytes of a body.
pub const DIAGONAL: [(usize, usize); 3] = [(64, 200), (8, 10_000), (1, 200_000)];

/// The cell in which calls, latencies and starts are measured.
pub const CENTRE: (usize, usize) = (64, 200);

/// How long a comparison measures.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Runs of each cell.
    pub rounds: usize,
    /// Seconds of the steady part of a run.
    pub seconds: f64,
    /// Seconds of a latency measurement at ten messages per second.
    pub light: f64,
    /// How long idle contenders are observed.
    pub idle: Duration,
    /// Only the cell `CENTRE`.
    pub quick: bool,
}

/// Measures all contenders into `results`.
pub async fn compare(lab: &Lab, contenders: &[Contender], effort: Effort, results: &mut Results) {
    throughput(lab, contenders, effort, results).await;
    lives(lab, contenders, effort, results).await;
    latencies(lab, contenders, effort, results).await;
    all_calls(lab, contenders, effort, results).await;
    progress("idle: all contenders at the same time");
    let resting: Vec<_> = contenders.iter().copied().filter(|c| !c.is_variant()).collect();
    match idle(lab, &resting, CENTRE.0, effort.idle).await {
        Ok(rests) => {
            for rest in rests {
                match rest {
                    Ok((idle, stop)) => {
                        let mut lives = results.lives.iter_mut();
                        if let Some(life) = lives.find(|life| life.contender == idle.contender) {
                            life.stop_idle.push(stop);
                        }
                        results.idles.push(idle);
                    }
                    Err((contender, error)) => {
                        fail(results, &format!("idle: {}", contender.name()), &error);
                    }
                }
            }
        }
        Err(error) => fail(results, "idle", &error),
    }
}

/// Records a failed measurement, and prints it.
pub fn fail(results: &mut Results, what: &str, error: &anyhow::Error) {
    progress(&format!("FAILED {what}: {error:#}"));
    results.failures.push(format!("{what}: {error:#}"));
}

/// Prints progress to standard error.
pub fn progress(what: &str) {
    eprintln!("{what}");
}

fn cells_of(contender: Contender, quick: bool) -> Vec<(usize, usize)> {
    if quick || contender == Contender::LifelineInfo {
        return vec![CENTRE];
    }
    if contender.is_principal() {
        return BODIES.into_iter().flat_map(|body| IN_FLIGHT.map(|in_flight| (in_flight, body))).collect();
    }
    let says_more = |&(_, body): &(usize, usize)| match contender {
        // Single deletes cost the same at every size.
        Contender::Boto3Single => body == CENTRE.1,
        // Base64 in base64 exceeds the maximum size of a message.
        Contender::Celery => body < 100_000,
        _ => true,
    };
    DIAGONAL.into_iter().filter(says_more).collect()
}

/// A matrix, or a single cell under other conditions.
struct Series {
    name: &'static str,
    way: Way,
    transport: Transport,
    delivery: Delivery,
    cells: fn(&mut Results) -> &mut Vec<Cell>,
}

const SERIES: [Series; 5] = [
    Series {
        name: "drain",
        way: Way::Drain,
        transport: Transport::Plain,
        delivery: Delivery::Wrapped,
        cells: |results| &mut results.drains,
    },
    Series {
        name: "publish",
        way: Way::Publish,
        transport: Transport::Plain,
        delivery: Delivery::Wrapped,
        cells: |results| &mut results.publishes,
    },
    Series {
        name: "drain over TLS",
        way: Way::Drain,
        transport: Transport::Tls,
        delivery: Delivery::Wrapped,
        cells: |results| &mut results.tls_drains,
    },
    Series {
        name: "publish over TLS",
        way: Way::Publish,
        transport: Transport::Tls,
        delivery: Delivery::Wrapped,
        cells: |results| &mut results.tls_publishes,
    },
    Series {
        name: "drain with raw delivery",
        way: Way::Drain,
        transport: Transport::Plain,
        delivery: Delivery::Raw,
        cells: |results| &mut results.raw_drains,
    },
];

impl Series {
    fn is_matrix(&self) -> bool {
        self.transport == Transport::Plain && self.delivery == Delivery::Wrapped
    }

    fn includes(&self, contender: Contender) -> bool {
        match self.way {
            // Celery's and shove's are delivered raw in any case.
            Way::Drain if self.delivery == Delivery::Raw => {
                matches!(contender, Contender::Lifeline | Contender::Bare | Contender::Hand)
            }
            Way::Drain => contender != Contender::BareTraced,
            Way::Publish => contender.publishes(),
        }
    }

    /// Cell by cell, and within a cell contender by contender.
    fn plans(&self, contenders: &[Contender], effort: Effort) -> Vec<Plan> {
        let mut plans = Vec::new();
        for &contender in contenders.iter().filter(|contender| self.includes(**contender)) {
            for (in_flight, body) in cells_of(contender, effort.quick || !self.is_matrix()) {
                let seconds = effort.seconds * contender.warming();
                let Self { way, transport, .. } = *self;
                let delivery =
                    if self.delivery == Delivery::Raw { Delivery::Raw } else { contender.delivery() };
                plans.push(Plan { contender, way, transport, delivery, in_flight, body, seconds });
            }
        }
        plans.sort_by_key(|plan| (plan.body, std::cmp::Reverse(plan.in_flight)));
        plans
    }
}

async fn throughput(lab: &Lab, contenders: &[Contender], effort: Effort, results: &mut Results) {
    for series in &SERIES {
        let plans = series.plans(contenders, effort);
        let mut planned: Vec<(Plan, Cell, bool)> =
            plans.into_iter().map(|plan| (plan, plan.cell(), true)).collect();
        for round in 1..=effort.rounds {
            for (plan, cell, works) in &mut planned {
                if !*works {
                    continue;
                }
                let what = format!(
                    "{} round {round}: {}, {} in flight, {} B",
                    series.name,
                    plan.contender.name(),
                    plan.in_flight,
                    plan.body
                );
                match plan.run_into(lab, cell).await {
                    Ok(()) => progress_run(&what, cell),
                    Err(error) => {
                        *works = !cell.runs.is_empty();
                        fail(results, &what, &error);
                    }
                }
            }
        }
        let cells = planned.into_iter().map(|(_, cell, _)| cell).filter(|cell| !cell.runs.is_empty());
        (series.cells)(results).extend(cells);
    }
}

fn progress_run(what: &str, cell: &Cell) {
    let Some(run) = cell.runs.last() else { return };
    progress(&format!(
        "{what}: {:.0}/s, {:.1} us, endpoint {:.1} us and {:.0} % of a core, {:.1} MB ({} in {:.2} s)",
        run.span.rate(),
        run.span.cpu_micros(),
        run.span.endpoint_micros(),
        run.span.endpoint_cores() * 100.0,
        run.peak_kb as f64 * 1024.0 / 1e6,
        run.count,
        run.span.seconds,
    ));
}

async fn lives(lab: &Lab, contenders: &[Contender], effort: Effort, results: &mut Results) {
    let alive = contenders.iter().filter(|c| !c.is_variant());
    let mut lives: Vec<Life> = alive
        .map(|&contender| Life {
            contender,
            first_message: Vec::new(),
            stop_busy: Vec::new(),
            stop_idle: Vec::new(),
        })
        .collect();
    for _ in 0..effort.rounds {
        for life in &mut lives {
            let name = life.contender.name();
            if let Some(millis) = tried(
                results,
                &format!("first message: {name}"),
                first_message(lab, life.contender, CENTRE.0),
            )
            .await
            {
                life.first_message.push(millis);
            }
        }
    }
    for _ in 0..effort.rounds.min(3) {
        for life in &mut lives {
            let count = (life.contender.guess() * 2.0) as u64;
            let what = format!("SIGTERM while busy: {}", life.contender.name());
            let stop = stop_busy(lab, life.contender, CENTRE.0, count);
            if let Some(millis) = tried(results, &what, stop).await {
                life.stop_busy.push(millis);
            }
        }
    }
    results.lives = lives;
}

async fn tried(
    results: &mut Results,
    what: &str,
    millis: impl Future<Output = anyhow::Result<f64>>,
) -> Option<f64> {
    match millis.await {
        Ok(millis) => {
            progress(&format!("{what}: {millis:.1} ms"));
            Some(millis)
        }
        Err(error) => {
            fail(results, what, &error);
            None
        }
    }
}

async fn latencies(lab: &Lab, contenders: &[Contender], effort: Effort, results: &mut Results) {
    let rounds = if effort.quick { 1 } else { 3 };
    for _ in 0..rounds {
        for &contender in contenders.iter().filter(|c| !c.is_variant()) {
            let rooms = if contender.is_principal() && !effort.quick { &IN_FLIGHT[..] } else { &[CENTRE.0] };
            for &in_flight in rooms {
                let what = format!("latency at 10 per second: {}, {in_flight} in flight", contender.name());
                let measured = light(lab, contender, in_flight, effort.light / rounds as f64).await;
                keep(results, &what, measured);
                if in_flight != CENTRE.0 {
                    continue;
                }
                let what = format!("latency at 80 %: {}", contender.name());
                let measured = async {
                    let most = most(lab, contender, in_flight, 2.0).await?;
                    heavy(lab, contender, in_flight, most, 2.0).await
                };
                keep(results, &what, measured.await);
            }
        }
    }
}

fn keep(results: &mut Results, what: &str, measured: anyhow::Result<Latency>) {
    let mut latency = match measured {
        Ok(latency) => latency,
        Err(error) => return fail(results, what, &error),
    };
    latency.millis = thinned(&latency.millis, 1000);
    let of = |p| percentile(&latency.millis, p).unwrap_or(f64::NAN);
    progress(&format!("{what}: p50 {:.2} ms, p99 {:.2} ms at {:.0}/s", of(50.0), of(99.0), latency.rate));
    let known = results.latencies.iter_mut().find(|known| {
        (known.contender, known.in_flight, known.load) == (latency.contender, latency.in_flight, latency.load)
    });
    match known {
        Some(known) => {
            known.millis.extend(latency.millis);
            if latency.load == Load::Heavy {
                known.rate = known.rate.min(latency.rate);
            }
        }
        None => results.latencies.push(latency),
    }
}

async fn all_calls(lab: &Lab, contenders: &[Contender], effort: Effort, results: &mut Results) {
    for &contender in contenders.iter().filter(|c| !c.is_variant()) {
        for drained in [true, false] {
            if !drained && !contender.publishes() {
                continue;
            }
            for (in_flight, body) in cells_of(contender, effort.quick) {
                let messages = match body {
                    ..1_000 => 4000,
                    1_000..100_000 => 2000,
                    _ => 200,
                };
                let what = format!("calls: {}, {in_flight} in flight, {body} B", contender.name());
                match calls(lab, contender, drained, in_flight, body, messages).await {
                    Ok(calls) => {
                        progress(&format!(
                            "{what}: {:.3} per message {:?}",
                            calls.per_message(),
                            calls.by_action
                        ));
                        results.calls.push(calls);
                    }
                    Err(error) => fail(results, &what, &error),
                }
            }
        }
    }
}
