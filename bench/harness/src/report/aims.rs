//! The aims of the benchmark, each checked against the results.

use crate::contender::Contender;
use crate::plan::CENTRE;
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
    let mut aims = consuming(results);
    aims.extend(publishing(results));
    aims.extend(troubles(results));
    aims.extend(growing(results));
    aims
}

fn centre(cells: &[Cell], contender: Contender) -> Option<&Cell> {
    cells.iter().find(|cell| (cell.contender, (cell.in_flight, cell.body)) == (contender, CENTRE))
}

fn cpu(cell: Option<&Cell>) -> Option<f64> {
    cell.and_then(Cell::cpu).map(|cpu| cpu.median)
}

fn rate(cell: Option<&Cell>) -> Option<f64> {
    cell.and_then(Cell::rate).map(|rate| rate.median)
}

/// The ratio of the CPU times of two contenders.
fn cost(cells: &[Cell], of: Contender, to: Contender) -> Option<f64> {
    ratio(cpu(centre(cells, of)), cpu(centre(cells, to)))
}

fn consuming(results: &Results) -> Vec<Aim> {
    use Contender::{Bare, Hand, Lifeline, LifelineFile, LifelineInfo};
    let (plain, tls) = (&results.drains, &results.tls_drains);
    let faster = |cells| ratio(rate(centre(cells, Lifeline)), rate(centre(cells, Bare)));
    let over = |peer: Contender| cost(plain, peer, Lifeline);
    let file = cpu(centre(plain, LifelineFile)).zip(cpu(centre(plain, Lifeline)));
    vec![
        most(
            "consumer over TLS: CPU time per message at most 0.70 × the bare loop's",
            cost(tls, Lifeline, Bare),
            0.7,
            "×",
        ),
        least("consumer over TLS: drain rate at least that of the bare loop", faster(tls), 1.0, "×"),
        most(
            "consumer over TLS: CPU time at most 1.4 × that of the loop by hand",
            cost(tls, Lifeline, Hand),
            1.4,
            "×",
        ),
        most(
            "consumer: CPU time at most 1.4 × that of the loop by hand",
            cost(plain, Lifeline, Hand),
            1.4,
            "×",
        ),
        worst(
            plain,
            Bare,
            "consumer: CPU time in the worst cell of the matrix at most the bare loop's",
            Cell::cpu,
            1.0,
            false,
        ),
        worst(
            plain,
            Bare,
            "consumer: drain rate in the worst cell of the matrix at least 0.95 × the bare loop's",
            Cell::rate,
            0.95,
            true,
        ),
        most(
            "consumer: the log at info costs at most 15 % more CPU time",
            cost(plain, LifelineInfo, Lifeline),
            1.15,
            "×",
        ),
        most(
            "consumer: `HANDLER=file` costs at most 3 µs more per message",
            file.map(|(file, log)| file - log),
            3.0,
            " µs",
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
        most(
            "consumer: at most 16 MB of resident memory at full rate",
            centre(plain, Lifeline).and_then(Cell::peak).map(|peak| peak.most),
            16.0,
            " MB",
        ),
    ]
}

fn publishing(results: &Results) -> Vec<Aim> {
    use Contender::{BareTraced, Lifeline};
    let (plain, tls) = (&results.publishes, &results.tls_publishes);
    let calls = results.calls.iter().find(|calls| {
        (calls.contender, calls.drained, (calls.in_flight, calls.body)) == (Lifeline, false, CENTRE)
    });
    vec![
        most(
            "producer over TLS: CPU time at most 0.70 × that of the bare loop with traceparent",
            cost(tls, Lifeline, BareTraced),
            0.7,
            "×",
        ),
        worst(
            plain,
            BareTraced,
            "producer: CPU time in the worst cell of the matrix at most that of the bare loop with traceparent",
            Cell::cpu,
            1.0,
            false,
        ),
        worst(
            plain,
            BareTraced,
            "producer: rate in the worst cell of the matrix at least 0.95 × that of the bare loop with traceparent",
            Cell::rate,
            0.95,
            true,
        ),
        // SNS allows ten messages per call, and the last call may have fewer.
        most(
            "producer: batches as full as SNS allows",
            calls.map(crate::results::Calls::per_message),
            0.105,
            " calls per message",
        ),
    ]
}

fn troubles(results: &Results) -> Vec<Aim> {
    let ours = Contender::Lifeline;
    let idle = results.idles.iter().find(|idle| idle.contender == ours);
    let p99 = |contender| {
        let of = |l: &&Latency| (l.contender, l.in_flight, l.load) == (contender, CENTRE.0, Load::Light);
        percentile(&results.latencies.iter().find(of)?.millis, 99.0)
    };
    let late = p99(ours).zip(p99(Contender::Bare)).map(|(ours, bare)| ours - bare);
    let stopped = results.lives.iter().find(|life| life.contender == ours);
    let stopped = stopped.and_then(|life| spread(life.stop_idle.iter().copied()));
    let allowed = results.ordered.iter().filter(|cell| cell.contender == ours);
    let allowed = allowed.filter_map(|cell| Some(cell.span.rate() / cell.allowed?)).reduce(f64::min);
    let throttled = results.throttled.iter().find(|throttled| throttled.contender == ours);
    let calls = throttled.map(|phases| phases.under.per_message() / phases.before.per_message());
    let wrong = results
        .outages
        .iter()
        .map(|outage| (outage.lost + outage.dead + outage.twice) as f64)
        .reduce(f64::max);
    let lines = |log: &str| results.piped.iter().find(|piped| piped.log == log);
    let speed = |log: &str| lines(log).map(|piped| piped.lines as f64 / piped.seconds);
    let memory = results.piped.iter().map(|piped| piped.peak_kb as f64 * 1024.0 / 1e6).reduce(f64::max);
    vec![
        most("idle: at most 0.2 % of a core", idle.map(|idle| idle.cpu / idle.seconds * 100.0), 0.2, " %"),
        most(
            "idle: one call in 20 s",
            idle.and_then(|idle| Some(idle.calls? as f64 / (idle.seconds / 20.0).max(1.0))),
            1.0,
            " calls",
        ),
        most("idle: SIGTERM to exit in at most 100 ms", stopped.map(|stopped| stopped.median), 100.0, " ms"),
        most("latency: p99 at 10 messages per second at most 10 ms above the bare loop's", late, 10.0, " ms"),
        least("FIFO: at least 0.95 × of what the groups allow", allowed, 0.95, "×"),
        most("throttling: calls per message at most 1.3 × those before", calls, 1.3, "×"),
        most(
            "outage behind the handler: no message lost, given up, or handled twice",
            wrong,
            0.0,
            " messages",
        ),
        least("`lifeline up --input`: at least 15,000 lines per second", speed("info"), 15_000.0, ""),
        least(
            "`lifeline up --input`, `RUST_LOG=warn`: at least 22,000 lines per second",
            speed("warn"),
            22_000.0,
            "",
        ),
        most("`lifeline up --input`: at most 40 MB of resident memory", memory, 40.0, " MB"),
    ]
}

fn growing(results: &Results) -> Vec<Aim> {
    vec![
        flat(
            results,
            "growth: CPU time per message flat from 10,000 messages in the queue to the maximum",
            |run| run.span.cpu_micros(),
        ),
        flat(results, "growth: memory flat from 10,000 messages in the queue to the maximum", |run| {
            run.peak_kb as f64
        }),
    ]
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
