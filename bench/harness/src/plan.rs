//! The plan of a comparison: its parts, what each of them measures, and how long it takes.

use std::time::Duration;

use clap::ValueEnum;

use crate::contender::Contender;
use crate::results::{Cell, Results};
use crate::span::Spread;
use crate::stage::{Delivery, Transport};
use crate::throughput::{Plan, Way};
use crate::{fifo, outage, throttling, up, working};

/// Messages in flight: all of the matrix is measured for Lifeline and the bare loop.
pub const IN_FLIGHT: [usize; 3] = [64, 8, 1];
/// Bytes of a body.
pub const BODIES: [usize; 3] = [200, 10_000, 200_000];
/// The cells in which the others are measured: messages in flight, bytes of a body.
pub const DIAGONAL: [(usize, usize); 3] = [(64, 200), (8, 10_000), (1, 200_000)];

/// The cell in which calls, latencies and starts are measured.
pub const CENTRE: (usize, usize) = (64, 200);

/// Seconds that a run takes besides its steady part: a fresh endpoint, and filling the queue.
const RUN: f64 = 1.6;

/// A cell whose runs differ by less than this share of their median is not measured again.
const NARROW: f64 = 0.1;

/// A part of the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Part {
    /// Draining, in every cell.
    Drain,
    /// Publishing, in every cell.
    Publish,
    /// Both over TLS.
    Tls,
    /// Draining with raw delivery.
    Raw,
    /// Start and stop.
    Starts,
    /// Latency from publish to handler.
    Latency,
    /// AWS calls.
    Calls,
    /// Handlers that take time.
    Handlers,
    /// FIFO queues.
    Fifo,
    /// Throttling.
    Throttling,
    /// Outages behind the handler.
    Outage,
    /// `lifeline up --input`.
    Up,
    /// An empty queue.
    Idle,
}

/// How long a comparison measures.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Runs of each cell, if they differ little.
    pub least: usize,
    /// Runs of the cell [`CENTRE`] at most.
    pub rounds: usize,
    /// Seconds of the steady part of a run.
    pub seconds: f64,
    /// Seconds of a latency measurement at ten messages per second.
    pub light: f64,
    /// How long idle contenders are observed.
    pub idle: Duration,
    /// Length of throttling, and of an outage.
    pub trouble: Duration,
    /// Lines for `lifeline up`.
    pub lines: u64,
    /// Only the cell [`CENTRE`].
    pub quick: bool,
}

impl Effort {
    /// How often latencies are measured.
    pub fn latency_rounds(&self) -> usize {
        if self.quick { 1 } else { 2 }
    }

    /// The fewest and the most runs of a cell. The others' cells besides the centre are there for orientation.
    pub fn runs(&self, cell: &Cell) -> (usize, usize) {
        match (cell.in_flight, cell.body) == CENTRE {
            true => (self.least, self.rounds),
            false if cell.contender.is_principal() => (self.least, self.least),
            false => (self.least.min(2), self.least.min(2)),
        }
    }

    /// Whether a cell needs another run.
    pub fn wants_more(&self, cell: &Cell) -> bool {
        let (least, most) = self.runs(cell);
        let wide = |spread: Option<Spread>| {
            spread.is_none_or(|spread| spread.most - spread.least > NARROW * spread.median)
        };
        cell.runs.len() < least || cell.runs.len() < most && (wide(cell.rate()) || wide(cell.cpu()))
    }
}

/// The contenders whose starts, latencies and calls are measured.
pub fn alive(contenders: &[Contender]) -> impl Iterator<Item = Contender> {
    contenders.iter().copied().filter(|contender| !contender.is_variant())
}

/// Those of `some` that are measured.
pub fn among<'a>(contenders: &'a [Contender], some: &'a [Contender]) -> impl Iterator<Item = Contender> + 'a {
    some.iter().copied().filter(|contender| contenders.contains(contender))
}

impl Part {
    /// The seconds that it takes, roughly, on two idle cores.
    pub fn seconds(self, contenders: &[Contender], effort: Effort) -> f64 {
        let alive = alive(contenders).count() as f64;
        let lifeline = contenders.contains(&Contender::Lifeline);
        match self {
            Self::Drain | Self::Publish | Self::Tls | Self::Raw => {
                let plans = SERIES.iter().filter(|series| series.part == self);
                let plans = plans.flat_map(|series| series.plans(contenders, effort));
                plans.map(|plan| effort.runs(&plan.cell()).1 as f64 * (RUN + plan.seconds * 1.4)).sum()
            }
            Self::Starts => alive * (effort.rounds as f64 * 0.7 + effort.rounds.min(3) as f64 * 2.5),
            Self::Latency => {
                let more = if effort.quick { 0.0 } else { 4.0 * (effort.light + 1.0) };
                alive * (effort.light + effort.latency_rounds() as f64 * 7.0) + more
            }
            Self::Calls => alive * if effort.quick { 3.0 } else { 8.0 },
            Self::Idle => effort.idle.as_secs_f64() + 35.0,
            Self::Handlers => {
                let contenders = among(contenders, &working::CONTENDERS).count();
                (contenders * working::HANDLERS.len()) as f64 * 8.0
            }
            Self::Fifo if lifeline => (fifo::GROUPS.len() * fifo::HANDLERS.len() + 3) as f64 * 5.0,
            Self::Throttling => {
                let contenders = among(contenders, &throttling::CONTENDERS).count();
                contenders as f64 * (effort.trouble.as_secs_f64() + 12.0)
            }
            Self::Outage if lifeline => {
                outage::KINDS.len() as f64 * (effort.trouble.as_secs_f64() * 2.0 + 10.0)
            }
            Self::Up if lifeline => up::LOGS.len() as f64 * effort.lines as f64 / 15_000.0,
            Self::Fifo | Self::Outage | Self::Up => 0.0,
        }
    }

    /// Its name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// The cells in which a contender is measured: messages in flight, bytes of a body.
pub fn cells_of(contender: Contender, quick: bool) -> Vec<(usize, usize)> {
    if quick || matches!(contender, Contender::LifelineInfo | Contender::LifelineFile) {
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
pub struct Series {
    /// The part that it belongs to.
    pub part: Part,
    /// Its name.
    pub name: &'static str,
    way: Way,
    transport: Transport,
    delivery: Delivery,
    /// Its cells in the results.
    pub cells: fn(&mut Results) -> &mut Vec<Cell>,
}

/// All of them.
pub const SERIES: [Series; 5] = [
    Series {
        part: Part::Drain,
        name: "drain",
        way: Way::Drain,
        transport: Transport::Plain,
        delivery: Delivery::Wrapped,
        cells: |results| &mut results.drains,
    },
    Series {
        part: Part::Publish,
        name: "publish",
        way: Way::Publish,
        transport: Transport::Plain,
        delivery: Delivery::Wrapped,
        cells: |results| &mut results.publishes,
    },
    Series {
        part: Part::Tls,
        name: "drain over TLS",
        way: Way::Drain,
        transport: Transport::Tls,
        delivery: Delivery::Wrapped,
        cells: |results| &mut results.tls_drains,
    },
    Series {
        part: Part::Tls,
        name: "publish over TLS",
        way: Way::Publish,
        transport: Transport::Tls,
        delivery: Delivery::Wrapped,
        cells: |results| &mut results.tls_publishes,
    },
    Series {
        part: Part::Raw,
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
    pub fn plans(&self, contenders: &[Contender], effort: Effort) -> Vec<Plan> {
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
