//! The aims of the benchmark, each checked against the results.

use crate::comparison::CENTRE;
use crate::contender::Contender;
use crate::results::{Cell, Latency, Load, Results};
use crate::span::{Spread, percentile, spread};

/// One aim.
#[derive(Debug)]
pub struct Aim {
    /// The aim, in words.
    pub asks: &'static str,
    /// What was measured.
    pub found: String,
    /// Whether the aim is met; `None` if it was not measured.
    pub met: Option<bool>,
}

/// All of them.
pub fn all(results: &Results) -> Vec<Aim> {
    let drain = |contender| results.drain(contender, CENTRE.0, CENTRE.1);
    let publish = |contender| results.publish(contender, CENTRE.0, CENTRE.1);
    let cpu = |cell: Option<&Cell>| cell.and_then(Cell::cpu).map(|cpu| cpu.median);
    let rate = |cell: Option<&Cell>| cell.and_then(Cell::rate).map(|rate| rate.median);
    let ours = cpu(drain(Contender::Lifeline));
    let bare = cpu(drain(Contender::Bare));
    let over = |peer: Contender| ratio(cpu(drain(peer)), ours);
    let mut aims = vec![
        most("consumer: CPU time per message at most 1.15 × the bare loop's", ratio(ours, bare), 1.15, "×"),
        least(
            "consumer: drain rate at least 0.95 × the bare loop's",
            ratio(rate(drain(Contender::Lifeline)), rate(drain(Contender::Bare))),
            0.95,
            "×",
        ),
        least(
            "consumer: at least 7 × less CPU time than sqs-consumer",
            over(Contender::SqsConsumer),
            7.0,
            "×",
        ),
        least(
            "consumer: at least 40 × less CPU time than boto3, single deletes",
            over(Contender::Boto3Single),
            40.0,
            "×",
        ),
        least(
            "consumer: at least 40 × less CPU time than boto3, batch deletes",
            over(Contender::Boto3Batch),
            40.0,
            "×",
        ),
        most(
            "consumer: at most 16 MB of resident memory at full rate",
            drain(Contender::Lifeline).and_then(Cell::peak).map(|peak| peak.most),
            16.0,
            " MB",
        ),
    ];
    let asks = "consumer: CPU time in the worst cell of the matrix at most 1.15 × the bare loop's";
    aims.push(worst(&results.drains, Contender::Bare, asks, Cell::cpu, 1.15, false));
    let asks = "consumer: drain rate in the worst cell of the matrix at least 0.95 × the bare loop's";
    aims.push(worst(&results.drains, Contender::Bare, asks, Cell::rate, 0.95, true));
    let idle = results.idles.iter().find(|idle| idle.contender == Contender::Lifeline);
    aims.push(most(
        "idle: at most 0.2 % of a core",
        idle.map(|idle| idle.cpu / idle.seconds * 100.0),
        0.2,
        " %",
    ));
    aims.push(most(
        "idle: one call in 20 s",
        idle.and_then(|idle| Some(idle.calls? as f64 / (idle.seconds / 20.0).max(1.0))),
        1.0,
        " calls",
    ));
    let p99 = |contender| {
        let of = |l: &&Latency| (l.contender, l.in_flight, l.load) == (contender, CENTRE.0, Load::Light);
        percentile(&results.latencies.iter().find(of)?.millis, 99.0)
    };
    let late = p99(Contender::Lifeline).zip(p99(Contender::Bare)).map(|(ours, bare)| ours - bare);
    aims.push(most(
        "latency: p99 at 10 messages per second at most 10 ms above the bare loop's",
        late,
        10.0,
        " ms",
    ));
    let publishing = ratio(cpu(publish(Contender::Lifeline)), cpu(publish(Contender::Bare)));
    aims.push(most("producer: CPU time per message at most 1.15 × the bare loop's", publishing, 1.15, "×"));
    let publishing = ratio(cpu(publish(Contender::Lifeline)), cpu(publish(Contender::BareTraced)));
    let asks = "producer: CPU time per message at most 1.15 × that of the bare loop with traceparent";
    aims.push(most(asks, publishing, 1.15, "×"));
    let asks = "producer: CPU time in the worst cell of the matrix at most 1.15 × that of the bare loop with traceparent";
    aims.push(worst(&results.publishes, Contender::BareTraced, asks, Cell::cpu, 1.15, false));
    let calls = |contender| {
        let of = |c: &&crate::results::Calls| {
            (c.contender, c.drained, c.in_flight, c.body) == (contender, false, CENTRE.0, CENTRE.1)
        };
        results.calls.iter().find(of).map(crate::results::Calls::per_message)
    };
    // SNS allows ten messages per call, and the last call may have fewer.
    aims.push(most(
        "producer: batches as full as SNS allows",
        calls(Contender::Lifeline),
        0.105,
        " calls per message",
    ));
    aims.push(flat(
        results,
        "growth: CPU time per message flat from 10,000 messages in the queue to the maximum",
        |run| run.span.cpu_micros(),
    ));
    aims.push(flat(results, "growth: memory flat from 10,000 messages in the queue to the maximum", |run| {
        run.peak_kb as f64
    }));
    aims
}

type Figure = fn(&Cell) -> Option<Spread>;

/// The ratio of Lifeline's figure to that of `beside` in the cell where it is worst. `at_least`: higher is better.
fn worst(
    cells: &[Cell],
    beside: Contender,
    asks: &'static str,
    of: Figure,
    bound: f64,
    at_least: bool,
) -> Aim {
    let value = |cell: &Cell| of(cell).map(|figure| figure.median);
    let ratios = cells.iter().filter(|cell| cell.contender == Contender::Lifeline).filter_map(|cell| {
        let same = |other: &&Cell| {
            (other.contender, other.in_flight, other.body) == (beside, cell.in_flight, cell.body)
        };
        Some((ratio(value(cell), cells.iter().find(same).and_then(value))?, cell))
    });
    let found = ratios.max_by(|a, b| if at_least { b.0.total_cmp(&a.0) } else { a.0.total_cmp(&b.0) });
    let Some((found, cell)) = found else { return most(asks, None, bound, "×") };
    Aim {
        asks,
        found: format!("{found:.2}× ({} in flight, {} B)", cell.in_flight, cell.body),
        met: Some(if at_least { found >= bound } else { found <= bound }),
    }
}

fn ratio(of: Option<f64>, to: Option<f64>) -> Option<f64> {
    of.zip(to).map(|(of, to)| of / to)
}

fn most(asks: &'static str, found: Option<f64>, most: f64, unit: &str) -> Aim {
    Aim { asks, found: shown(found, unit), met: found.map(|found| found <= most) }
}

fn least(asks: &'static str, found: Option<f64>, least: f64, unit: &str) -> Aim {
    Aim { asks, found: shown(found, unit), met: found.map(|found| found >= least) }
}

fn shown(found: Option<f64>, unit: &str) -> String {
    found.map_or_else(|| "not measured".to_owned(), |found| format!("{found:.2}{unit}"))
}

/// The ratio of the most expensive backlog to that of 10,000 messages. Runs of fewer messages are too short to be exact.
fn flat(results: &Results, asks: &'static str, of: impl Fn(&crate::results::Grown) -> f64) -> Aim {
    let mut backlogs: Vec<u64> = results.growth.iter().map(|run| run.backlog).collect();
    backlogs.sort_unstable();
    backlogs.dedup();
    let median = |backlog| {
        let runs = results.growth.iter().filter(|run| {
            (run.contender, run.backlog, run.pollers)
                == (Contender::Lifeline, backlog, crate::growth::POLLERS)
        });
        spread(runs.map(&of)).map(|all| all.median)
    };
    let figures: Vec<f64> = backlogs.into_iter().filter(|b| *b >= 10_000).filter_map(median).collect();
    let found = (figures.len() > 1).then(|| figures.iter().copied().fold(0.0, f64::max) / figures[0]);
    most(asks, found, 1.1, "×")
}
