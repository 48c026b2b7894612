//! The tables of the results, in Markdown.

use std::fmt::Write;

use super::aims;
use crate::contender::Contender;
use crate::plan::CENTRE;
use crate::results::{Cell, Grown, Idle, Latency, Life, Load, Results};
use crate::span::{Spread, percentile, spread};

/// All tables.
pub fn markdown(results: &Results) -> String {
    let mut page = String::new();
    about(&mut page, results);
    aims_table(&mut page, results);
    centre(&mut page, results);
    matrix(&mut page, "Draining, every cell", &results.drains);
    matrix(&mut page, "Publishing, every cell", &results.publishes);
    latencies(&mut page, results);
    lives(&mut page, &results.lives);
    idles(&mut page, &results.idles);
    super::trouble::tables(&mut page, results);
    growth(&mut page, &results.growth);
    if !results.failures.is_empty() {
        heading(&mut page, "Failed measurements");
        for failure in &results.failures {
            let _ = writeln!(page, "- {}", failure.replace('\n', " "));
        }
    }
    page
}

pub fn heading(page: &mut String, text: &str) {
    let _ = writeln!(page, "### {text}\n");
}

fn about(page: &mut String, results: &Results) {
    let _ = writeln!(page, "| | |\n| --- | --- |");
    for (name, value) in &results.about {
        let _ = writeln!(page, "| {name} | {value} |");
    }
    page.push('\n');
}

fn aims_table(page: &mut String, results: &Results) {
    heading(page, "Aims");
    let (in_flight, body) = CENTRE;
    let _ = writeln!(page, "Medians with {in_flight} messages in flight and bodies of {body} B.\n");
    let _ = writeln!(page, "| aim | measured | met |\n| --- | --- | --- |");
    for aim in aims::all(results) {
        let met = aim.met.map_or("-", |met| if met { "yes" } else { "**no**" });
        let _ = writeln!(page, "| {} | {} | {met} |", aim.asks, aim.found);
    }
    page.push('\n');
}

fn centre(page: &mut String, results: &Results) {
    let series = [
        ("Draining", &results.drains),
        ("Publishing", &results.publishes),
        ("Draining over TLS", &results.tls_drains),
        ("Publishing over TLS", &results.tls_publishes),
        ("Draining with raw delivery", &results.raw_drains),
    ];
    for (way, cells) in series {
        let here: Vec<_> = cells.iter().filter(|cell| (cell.in_flight, cell.body) == CENTRE).collect();
        let ours = here.iter().find(|cell| cell.contender == Contender::Lifeline).and_then(|cell| cell.cpu());
        if here.is_empty() {
            continue;
        }
        heading(page, &format!("{way}: {} in flight, {} B", CENTRE.0, CENTRE.1));
        let _ = writeln!(
            page,
            "| | messages per second | CPU seconds per million | relative to Lifeline | peak memory, MB | calls per \
             message | endpoint, share of a core |\n| --- | --- | --- | --- | --- | --- | --- |"
        );
        for cell in here {
            let to_ours =
                cell.cpu().zip(ours).map_or(String::new(), |(c, o)| format!("{:.2} ×", c.median / o.median));
            let counted = way == "Draining" || way == "Publishing";
            let calls = results.calls.iter().filter(|_| counted).find(|calls| {
                (calls.contender, calls.drained, calls.in_flight, calls.body)
                    == (cell.contender, way == "Draining", cell.in_flight, cell.body)
            });
            let _ = writeln!(
                page,
                "| {} | {} | {} | {to_ours} | {} | {} | {} |",
                cell.contender.name(),
                whole(cell.rate()),
                tenths(cell.cpu()),
                tenths(cell.peak()),
                calls.map_or("-".to_owned(), |calls| format!("{:.2}", calls.per_message())),
                cell.endpoint_cores().map_or("-".to_owned(), |c| format!("{:.0} %", c.median * 100.0)),
            );
        }
        page.push('\n');
    }
}

fn matrix(page: &mut String, name: &str, cells: &[Cell]) {
    if cells.is_empty() {
        return;
    }
    heading(page, name);
    let _ = writeln!(
        page,
        "| body | in flight | | messages per second | CPU seconds per million | of the endpoint | peak memory, MB | runs \
         × messages |\n| --- | --- | --- | --- | --- | --- | --- | --- |"
    );
    let mut sorted: Vec<_> = cells.iter().collect();
    sorted.sort_by_key(|cell| (cell.body, std::cmp::Reverse(cell.in_flight), cell.contender));
    for cell in sorted {
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} | {} | {} | {} | {} × {} |",
            bytes(cell.body),
            cell.in_flight,
            cell.contender.name(),
            whole(cell.rate()),
            tenths(cell.cpu()),
            cell.endpoint().map_or("-".to_owned(), |endpoint| format!("{:.1}", endpoint.median)),
            tenths(cell.peak()),
            cell.runs.len(),
            cell.runs.last().map_or(0, |run| run.count),
        );
    }
    page.push('\n');
}

fn bytes(count: usize) -> String {
    if count >= 1000 { format!("{} kB", count / 1000) } else { format!("{count} B") }
}

fn latencies(page: &mut String, results: &Results) {
    if results.latencies.is_empty() {
        return;
    }
    heading(page, "Latency from publish to handler");
    let _ = writeln!(
        page,
        "| | in flight | load | messages per second | p50, ms | p99, ms | p99 minus the bare loop's |\n| --- | --- | --- | --- | \
         --- | --- | --- |"
    );
    let bare = |of: &Latency| {
        let own =
            |l: &&Latency| (l.contender, l.in_flight, l.load) == (Contender::Bare, of.in_flight, of.load);
        percentile(&results.latencies.iter().find(own)?.millis, 99.0)
    };
    let mut sorted: Vec<_> = results.latencies.iter().collect();
    sorted.sort_by_key(|l| (l.load == Load::Heavy, std::cmp::Reverse(l.in_flight), l.contender));
    for latency in sorted {
        let at = |p| percentile(&latency.millis, p).unwrap_or(f64::NAN);
        let load = if latency.load == Load::Light { "10 per second" } else { "80 % of its maximum" };
        let over = bare(latency).filter(|_| latency.load == Load::Light);
        let _ = writeln!(
            page,
            "| {} | {} | {load} | {} | {:.2} | {:.2} | {} |",
            latency.contender.name(),
            latency.in_flight,
            thousands(latency.rate),
            at(50.0),
            at(99.0),
            over.map_or("-".to_owned(), |own| format!("{:+.2}", at(99.0) - own)),
        );
    }
    page.push('\n');
}

fn lives(page: &mut String, lives: &[Life]) {
    if lives.is_empty() {
        return;
    }
    heading(page, "Start and stop, ms");
    let _ = writeln!(
        page,
        "| | exec to first message handled | SIGTERM to exit, busy | SIGTERM to exit, idle |\n| --- | --- | --- | --- |"
    );
    for life in lives {
        let most = crate::life::STOPPED_WITHIN.as_secs_f64() * 1e3;
        let of = |all: &[f64]| match spread(all.iter().copied()) {
            Some(times) if times.median >= most => format!("over {}", thousands(most)),
            times => tenths(times),
        };
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} |",
            life.contender.name(),
            of(&life.first_message),
            of(&life.stop_busy),
            of(&life.stop_idle)
        );
    }
    page.push('\n');
}

fn idles(page: &mut String, idles: &[Idle]) {
    let Some(first) = idles.first() else { return };
    heading(page, "Idle");
    let _ = writeln!(page, "{:.0} s on an empty queue.\n", first.seconds);
    let _ = writeln!(
        page,
        "| | share of a core | resident memory, MB | calls in 20 s |\n| --- | --- | --- | --- |"
    );
    for idle in idles {
        let _ = writeln!(
            page,
            "| {} | {:.3} % | {:.1} | {} |",
            idle.contender.name(),
            idle.cpu / idle.seconds * 100.0,
            idle.memory_kb as f64 * 1024.0 / 1e6,
            idle.calls.map_or("-".to_owned(), |calls| format!("{:.1}", calls as f64 / idle.seconds * 20.0)),
        );
    }
    page.push('\n');
}

fn growth(page: &mut String, growth: &[Grown]) {
    if growth.is_empty() {
        return;
    }
    heading(page, "Growth");
    let _ = writeln!(
        page,
        "| messages in the queue | pollers | | messages per second | CPU seconds per million | of the endpoint | endpoint, share of \
         a core | peak memory, MB |\n| --- | --- | --- | --- | --- | --- | --- | --- |"
    );
    let mut keys: Vec<_> = growth.iter().map(|run| (run.backlog, run.pollers, run.contender)).collect();
    keys.dedup();
    keys.sort_by_key(|(backlog, pollers, contender)| {
        (*backlog == crate::growth::QUEUE, *backlog, *pollers, *contender)
    });
    keys.dedup();
    for key in keys {
        let of = |figure: fn(&Grown) -> f64| {
            let here = growth.iter().filter(|run| (run.backlog, run.pollers, run.contender) == key);
            spread(here.map(figure))
        };
        let (backlog, pollers, contender) = key;
        let _ = writeln!(
            page,
            "| {} | {pollers} | {} | {} | {} | {} | {} | {} |",
            thousands(backlog as f64),
            contender.name(),
            whole(of(|run| run.span.rate())),
            tenths(of(|run| run.span.cpu_micros())),
            tenths(of(|run| run.span.endpoint_micros())),
            of(|run| run.span.endpoint_cores())
                .map_or("-".to_owned(), |c| format!("{:.0} %", c.median * 100.0)),
            tenths(of(|run| run.peak_kb as f64 * 1024.0 / 1e6)),
        );
    }
    page.push('\n');
}

pub fn whole(figure: Option<Spread>) -> String {
    written(figure, thousands)
}

pub fn tenths(figure: Option<Spread>) -> String {
    written(figure, |value| if value >= 1000.0 { thousands(value) } else { format!("{value:.1}") })
}

/// The median, with minimum and maximum in brackets.
fn written(figure: Option<Spread>, number: impl Fn(f64) -> String) -> String {
    let Some(Spread { median, least, most }) = figure else { return "-".to_owned() };
    if least == most {
        return number(median);
    }
    format!("{} ({}–{})", number(median), number(least), number(most))
}

pub fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_show_their_spread() {
        assert_eq!(thousands(1_234_567.4), "1,234,567");
        assert_eq!(thousands(12.0), "12");
        assert_eq!(whole(spread([900.0, 1100.0, 1000.0])), "1,000 (900–1,100)");
        assert_eq!(tenths(spread([30.25])), "30.2");
        assert_eq!(tenths(None), "-");
    }
}
