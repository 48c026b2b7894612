//! Which figures become which charts.

use super::chart::{Bar, Line, bars, lines};
use crate::comparison::CENTRE;
use crate::contender::Contender;
use crate::growth;
use crate::results::{Cell, Grown, Load, Results};
use crate::span::{Spread, percentile, spread};

/// All charts that the results allow, by file name.
pub fn all(results: &Results) -> Vec<(&'static str, String)> {
    let centre = format!("{} in flight, {} B", CENTRE.0, CENTRE.1);
    let mut charts = Vec::new();
    let mut keep = |name, title: String, bars_of: Vec<Bar>, number: fn(f64) -> String| {
        if !bars_of.is_empty() {
            charts.push((name, bars(&title, &bars_of, number)));
        }
    };
    let drained = |figure: fn(&Cell) -> Option<Spread>| of(&results.drains, figure);
    let published = |figure: fn(&Cell) -> Option<Spread>| of(&results.publishes, figure);
    keep("drain-rate.svg", format!("Drained, messages a second ({centre})"), drained(Cell::rate), short);
    keep(
        "drain-processor-time.svg",
        format!("Draining, processor µs a message ({centre})"),
        drained(Cell::cpu),
        short,
    );
    keep("drain-memory.svg", format!("Draining, peak memory in MB ({centre})"), drained(Cell::peak), short);
    keep(
        "publish-rate.svg",
        format!("Published, messages a second ({centre})"),
        published(Cell::rate),
        short,
    );
    let title = format!("Publishing, processor µs a message ({centre})");
    keep("publish-processor-time.svg", title, published(Cell::cpu), short);
    keep("latency.svg", "Published to handled, p99 in ms at 10 a second".to_owned(), latency(results), short);
    charts.extend(grown(&results.growth));
    charts
}

fn of(cells: &[Cell], figure: fn(&Cell) -> Option<Spread>) -> Vec<Bar> {
    let here = cells.iter().filter(|cell| (cell.in_flight, cell.body) == CENTRE);
    let mut here: Vec<_> = here.collect();
    here.sort_by_key(|cell| cell.contender);
    let bar = |cell: &Cell| {
        let Spread { median, least, most } = figure(cell)?;
        Some(Bar {
            name: cell.contender.name().to_owned(),
            value: median,
            spread: Some((least, most)),
            ours: is_ours(cell.contender),
        })
    };
    here.into_iter().filter_map(bar).collect()
}

fn is_ours(contender: Contender) -> bool {
    matches!(contender, Contender::Lifeline | Contender::LifelineInfo)
}

fn latency(results: &Results) -> Vec<Bar> {
    let here = results.latencies.iter().filter(|l| (l.in_flight, l.load) == (CENTRE.0, Load::Light));
    let bar = |latency: &crate::results::Latency| {
        let value = percentile(&latency.millis, 99.0)?;
        let name = latency.contender.name().to_owned();
        Some(Bar { name, value, spread: None, ours: is_ours(latency.contender) })
    };
    here.filter_map(bar).collect()
}

fn grown(runs: &[Grown]) -> Vec<(&'static str, String)> {
    if runs.is_empty() {
        return Vec::new();
    }
    let by_backlog = |figure: fn(&Grown) -> f64| {
        both(runs.iter().filter(|run| run.pollers == growth::POLLERS), |run| run.backlog, figure)
    };
    let by_pollers = |figure: fn(&Grown) -> f64| {
        both(runs.iter().filter(|run| run.backlog == growth::QUEUE), |run| run.pollers as u64, figure)
    };
    let mut rates = by_pollers(|run| run.span.rate());
    let cores = by_pollers(|run| run.span.endpoint_cores() * 100.0);
    rates.retain(|(_, points)| !points.is_empty());
    vec![
        (
            "growth-processor-time.svg",
            lines(
                "Processor µs a message, by messages in the queue",
                &by_backlog(|run| run.span.cpu_micros()),
                short,
                short,
            ),
        ),
        (
            "growth-memory.svg",
            lines(
                "Peak memory in MB, by messages in the queue",
                &by_backlog(|run| run.peak_kb as f64 * 1024.0 / 1e6),
                short,
                short,
            ),
        ),
        ("growth-pollers.svg", lines("Messages a second, by pollers", &rates, short, short)),
        (
            "growth-endpoint.svg",
            lines("The endpoint's use in % of one core, by pollers", &cores, short, short),
        ),
    ]
}

fn both<'a>(
    runs: impl Iterator<Item = &'a Grown> + Clone,
    key: fn(&Grown) -> u64,
    figure: fn(&Grown) -> f64,
) -> Vec<Line> {
    let line = |contender: Contender| {
        let ours = runs.clone().filter(|run| run.contender == contender);
        let mut keys: Vec<u64> = ours.clone().map(key).collect();
        keys.sort_unstable();
        keys.dedup();
        let points = keys.into_iter().filter_map(|at| {
            let here = ours.clone().filter(|run| key(run) == at);
            Some((at as f64, spread(here.map(figure))?.median))
        });
        (contender.name().to_owned(), points.collect())
    };
    [Contender::Lifeline, Contender::Bare].map(line).into()
}

fn short(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{}M", (v / 1e5).round() / 10.0),
        v if v >= 10_000.0 => format!("{}k", (v / 100.0).round() / 10.0),
        v if v >= 100.0 => format!("{v:.0}"),
        v => format!("{}", (v * 100.0).round() / 100.0),
    }
}
