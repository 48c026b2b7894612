//! `docs/scale.md`: its tables and charts, each made from the figures and the limits as they are now.
//!
//! A table stands between `<!-- scale:name -->` and `<!-- /scale -->`; the prose around it is written by hand.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::autoscale::{self, Course};
use crate::chart::{self, Axis, Series};
use crate::check;
use crate::model;
use crate::plan::{CALL, Demand, Planner, USED};
use crate::sim::Place;
use crate::sim::consumer::{self, Load, Pod};

const RATES: [f64; 4] = [1e3, 1e4, 1e5, 1e6];
const HANDLERS: [u64; 3] = [1, 100, 1000];
const BODIES: [usize; 3] = [200, 10_000, 200_000];

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

/// Writes what is generated, or only says whether it is as it should be.
pub(crate) fn run(only_check: bool) -> Result<()> {
    let planner = Planner::read()?;
    let page = docs().join("scale.md");
    let text = std::fs::read_to_string(&page).context("docs/scale.md")?;
    let mut files = vec![(page, fill(&text, &planner)?)];
    for (name, chart) in charts(&planner)? {
        files.push((docs().join("charts").join(name), chart));
    }
    let mut stale = Vec::new();
    for (path, should) in files {
        if std::fs::read_to_string(&path).unwrap_or_default() == should {
            continue;
        }
        if !only_check {
            std::fs::write(&path, should)?;
        }
        stale.push(path.file_name().unwrap_or_default().to_string_lossy().into_owned());
    }
    ensure!(!only_check || stale.is_empty(), "stale: {}; run `cargo run -p scale -- doc`", stale.join(", "));
    println!(
        "{}",
        if stale.is_empty() {
            "all is as it should be".to_owned()
        } else {
            format!("wrote {}", stale.join(", "))
        }
    );
    Ok(())
}

/// The page with every table made anew.
fn fill(text: &str, planner: &Planner) -> Result<String> {
    const BEGIN: &str = "<!-- scale:";
    const END: &str = "<!-- /scale -->";
    let mut parts = text.split(BEGIN);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once(" -->").context("a marker does not end")?;
        let (_, rest) = rest.split_once(END).with_context(|| format!("{name} has no {END}"))?;
        write!(out, "{BEGIN}{name} -->\n{}{END}{rest}", table(name, planner)?)?;
    }
    Ok(out)
}

fn table(name: &str, planner: &Planner) -> Result<String> {
    Ok(match name {
        "figures" => figures(planner),
        "checked" => checked()?,
        "limits" => limits(planner),
        "calls" => calls(planner),
        "pods" => pods(planner),
        "backlog" => backlog(planner),
        "partial" => partial(planner),
        "keda" => keda(planner),
        other => anyhow::bail!("no table is called {other}"),
    })
}

fn figures(planner: &Planner) -> String {
    let mut out = String::from(
        "| body | consumer: processor time a message | peak memory | producer: processor time a message | peak memory |\n\
         | --- | --- | --- | --- | --- |\n",
    );
    for body in &planner.figures.bodies {
        out += &format!(
            "| {} | {:.0} µs | {:.0} MiB | {:.0} µs | {:.0} MiB |\n",
            size(body.bytes),
            body.consumer_cpu_us,
            body.consumer_peak_mib,
            body.producer_cpu_us,
            body.producer_peak_mib,
        );
    }
    format!(
        "{out}\nEach small message held adds {:.0} KiB to a consumer. From {}.\n",
        planner.figures.consumer_held_kib, planner.figures.source
    )
}

fn checked() -> Result<String> {
    let rows = check::written()?;
    let lines: String = rows.iter().map(|row| row.line() + "\n").collect();
    Ok(format!("{}\n{lines}", check::HEAD))
}

fn limits(planner: &Planner) -> String {
    let aws = &planner.aws;
    let by_region = |regions: &std::collections::BTreeMap<String, f64>| {
        let mut regions: Vec<_> = regions.iter().collect();
        regions.sort_by(|a, b| b.1.total_cmp(a.1));
        regions
            .iter()
            .map(|(region, most)| format!("{} in {region}", number(**most)))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let rows = [
        (
            &aws.sns_publish.what,
            by_region(&aws.sns_publish.regions),
            &aws.sns_publish.source,
            &aws.sns_publish.date,
        ),
        (
            &aws.sns_fifo.what,
            format!("{} and {}", number(aws.sns_fifo.topic), number(aws.sns_fifo.group)),
            &aws.sns_fifo.source,
            &aws.sns_fifo.date,
        ),
        (
            &aws.sqs_in_flight.what,
            number(aws.sqs_in_flight.messages),
            &aws.sqs_in_flight.source,
            &aws.sqs_in_flight.date,
        ),
        (
            &aws.sqs_fifo.what,
            format!("{}; {}", number(aws.sqs_fifo.calls), by_region(&aws.sqs_fifo.high)),
            &aws.sqs_fifo.source,
            &aws.sqs_fifo.date,
        ),
    ];
    let mut out = String::from("| limit | figure | source, as of |\n| --- | --- | --- |\n");
    for (what, figure, source, date) in rows {
        out += &format!("| {what} | {figure} | <{source}>, {date} |\n");
    }
    let prices = &aws.prices;
    let tiers: Vec<_> = prices.sqs_tiers.iter().map(|(_, price)| format!("${price:.2}")).collect();
    out += &format!(
        "| SQS, a million requests of {} KiB, {} | {}: less beyond 100 and 200 × 10⁹ a month; FIFO ${:.2} | {}, {} |\n",
        prices.chunk_bytes / 1024.0,
        prices.region,
        tiers.join(", "),
        prices.sqs_fifo,
        prices.sqs_source,
        prices.date,
    );
    out + &format!(
        "| SNS, a million publishes of {} KiB, {} | ${:.2}; delivery to SQS is free | {}, {} |\n",
        prices.chunk_bytes / 1024.0,
        prices.region,
        prices.sns,
        prices.sns_source,
        prices.date,
    )
}

fn calls(planner: &Planner) -> String {
    let mut out = String::from(
        "| messages a second | body | producer pods | publishes a second | receives | deletes | SNS a month | SQS a month | \
         a million messages | quota of us-east-1 |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for rate in RATES {
        for bytes in BODIES {
            let calls = planner.calls(Demand { rate, bytes });
            out += &format!(
                "| {} | {} | {} | {} | {} | {} | {} | {} | ${:.2} | {} |\n",
                number(rate),
                size(bytes),
                number(calls.producers),
                number(calls.publishes),
                number(calls.receives),
                number(calls.deletes),
                dollars(calls.sns),
                dollars(calls.sqs),
                calls.per_million,
                if calls.quota > 1.0 { format!("{:.1} ×", calls.quota) } else { "within".to_owned() },
            );
        }
    }
    out
}

fn pods(planner: &Planner) -> String {
    let mut out = String::from(
        "| messages a second | handler | body | consumer pods | each: `MAX_IN_FLIGHT`/`POLLERS` | each does | memory of each | \
         cores in all | in flight in all | a pod stops at | AWS stops at |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for rate in RATES {
        for handler in HANDLERS.map(Duration::from_millis) {
            for bytes in BODIES {
                let demand = Demand { rate, bytes };
                let consumers = planner.consumers(demand, handler);
                out += &format!(
                    "| {} | {} | {} | {} | {}/{} | {}/s | {:.0} MiB | {:.2} | {} | {} | {} |\n",
                    number(rate),
                    time(handler),
                    size(bytes),
                    number(consumers.pods),
                    consumers.pod.max_in_flight,
                    consumers.pod.pollers,
                    number(consumers.each),
                    consumers.memory_mib,
                    consumers.cores,
                    number(consumers.in_flight),
                    consumers.bound,
                    planner.wall(demand, &consumers),
                );
            }
        }
    }
    out
}

/// A pod as the base has it.
fn standard(planner: &Planner, handler: Duration) -> (Pod, Place) {
    let pod = Pod { pollers: 4, max_in_flight: planner.cluster.max_in_flight, handler };
    let place = Place {
        round_trip: CALL,
        setup_trips: 2,
        service: Duration::ZERO,
        message_cost: planner.figures.consumer_cost(200).div_f64(USED),
        cores: planner.cluster.cores,
    };
    (pod, place)
}

fn backlog(planner: &Planner) -> String {
    let mut out =
        String::from("| backlog | handler | 1 pod | 10 pods | 100 pods |\n| --- | --- | --- | --- | --- |\n");
    for messages in [1e5, 1e6, 1e7] {
        for handler in HANDLERS.map(Duration::from_millis) {
            let (pod, place) = standard(planner, handler);
            let each = model::drain(&pod, &place).messages;
            let after = [1.0, 10.0, 100.0].map(|pods| span(messages / (each * pods)));
            out += &format!("| {} | {} | {} |\n", number(messages), time(handler), after.join(" | "));
        }
    }
    out
}

fn partial(planner: &Planner) -> String {
    let mut out = String::from(
        "| messages a second to a pod | pollers | calls a message | SQS a month | to the handler, median | 99 % |\n\
         | --- | --- | --- | --- | --- | --- |\n",
    );
    for rate in [10.0, 100.0, 1000.0] {
        for pollers in [4, 16] {
            let (pod, place) = standard(planner, Duration::from_millis(5));
            let pod = Pod { pollers, ..pod };
            let messages = (rate * 30.0) as u64;
            let drained = consumer::run(pod, place, Load::Arrivals { messages, rate, seed: 9 });
            let requests = drained.calls_per_message() * rate * 730.0 * 3600.0;
            out += &format!(
                "| {} | {pollers} | {:.2} | {} | {} | {} |\n",
                number(rate),
                drained.calls_per_message(),
                dollars(planner.aws.prices.sqs(requests)),
                time(drained.wait(0.5)),
                time(drained.wait(0.99)),
            );
        }
    }
    out
}

fn keda(planner: &Planner) -> String {
    let cluster = &planner.cluster;
    let mut out = String::from(
        "| what happens | handler | each pod does | most pods | most waiting | over after |\n\
         | --- | --- | --- | --- | --- | --- |\n",
    );
    for handler in HANDLERS.map(Duration::from_millis) {
        let (pod, place) = standard(planner, handler);
        let each = model::drain(&pod, &place).messages;
        let held = model::held(&pod, &place).as_secs_f64();
        let courses = [
            ("a step from 0 to half of what the most pods do", 0.5, 0.0),
            ("a step from 0 to 90 % of it", 0.9, 0.0),
            ("an outage of 10 minutes at half of it", 0.5, 600.0),
        ];
        for (what, share, outage) in courses {
            let rate = each * cluster.max_replicas as f64 * share;
            let course = Course { backlog: rate * outage, before: 0.0, after: rate, step_at: 0 };
            let seconds = autoscale::run(cluster, each, held, course, 7200);
            let most = seconds.iter().map(|second| second.pods).max().unwrap_or(0);
            let waiting = seconds.iter().map(|second| second.backlog).fold(0.0, f64::max);
            let over =
                autoscale::recovered(course, &seconds).map_or("not in 2 h".to_owned(), |s| span(s as f64));
            out += &format!(
                "| {what} ({}/s) | {} | {}/s | {most} | {} | {over} |\n",
                number(rate),
                time(handler),
                number(each),
                number(waiting),
            );
        }
    }
    out
}

fn charts(planner: &Planner) -> Result<Vec<(&'static str, String)>> {
    Ok(vec![("scale-round-trip.svg", round_trip_chart()?), ("scale-outage.svg", outage_chart(planner))])
}

fn round_trip_chart() -> Result<String> {
    let rows = check::written()?;
    let place = |round_trip: f64| Place {
        round_trip: Duration::from_secs_f64(round_trip / 1000.0),
        setup_trips: 1,
        service: Duration::from_millis(1),
        message_cost: Duration::ZERO,
        cores: 1,
    };
    let mut series = Vec::new();
    for (colour, (max_in_flight, pollers)) in [(64, 4), (500, 16), (2000, 64)].into_iter().enumerate() {
        let pod = Pod { pollers, max_in_flight, handler: Duration::ZERO };
        let steps = (0..=60).map(|step| 10_f64.powf(f64::from(step) / 30.0));
        let points = steps.map(|trip| (trip, model::drain(&pod, &place(trip)).messages)).collect();
        series.push(Series {
            name: format!("{max_in_flight}/{pollers}, model"),
            points,
            colour,
            dots: false,
        });
        let name = format!("consumer {max_in_flight}/{pollers}");
        let measured = rows.iter().filter(|row| row.name == name);
        let points = measured.map(|row| (row.round_trip_ms as f64, row.measured)).collect();
        series.push(Series { name: "measured".to_owned(), points, colour, dots: true });
    }
    let x =
        Axis { steps: vec![1.0, 3.0, 10.0, 30.0, 100.0], logarithmic: true, label: |ms| format!("{ms} ms") };
    let y = Axis {
        steps: vec![100.0, 1e3, 1e4, 1e5],
        logarithmic: true,
        label: |rate| format!("{}/s", number(rate)),
    };
    Ok(chart::svg("Messages a second of one consumer, by the round trip to SQS", &x, &y, &series))
}

fn outage_chart(planner: &Planner) -> String {
    let (pod, place) = standard(planner, Duration::from_millis(100));
    let each = model::drain(&pod, &place).messages;
    let held = model::held(&pod, &place).as_secs_f64();
    let rate = each * planner.cluster.max_replicas as f64 / 2.0;
    let mut series = Vec::new();
    for (colour, times) in [1, 2, 4].into_iter().enumerate() {
        let cluster =
            crate::cluster::Cluster { max_replicas: planner.cluster.max_replicas * times, ..planner.cluster };
        let course = Course { backlog: rate * 600.0, before: rate, after: rate, step_at: 0 };
        let seconds = autoscale::run(&cluster, each, held, course, 901);
        let points =
            seconds.iter().step_by(5).map(|second| (second.at as f64 / 60.0, second.backlog / 1e6)).collect();
        let name = format!("at most {} pods", cluster.max_replicas);
        series.push(Series { name, points, colour, dots: false });
    }
    let x = Axis {
        steps: vec![0.0, 3.0, 6.0, 9.0, 12.0, 15.0],
        logarithmic: false,
        label: |minutes| format!("{minutes} min"),
    };
    let y = Axis {
        steps: vec![0.0, 0.5, 1.0, 1.5, 2.0],
        logarithmic: false,
        label: |millions| format!("{millions} M"),
    };
    chart::svg("Messages waiting after an outage of ten minutes, handler 100 ms", &x, &y, &series)
}

fn size(bytes: usize) -> String {
    if bytes >= 1000 { format!("{} kB", bytes / 1000) } else { format!("{bytes} B") }
}

fn time(time: Duration) -> String {
    if time >= Duration::from_secs(1) {
        format!("{:.0} s", time.as_secs_f64())
    } else {
        format!("{:.0} ms", time.as_secs_f64() * 1e3)
    }
}

/// A length of time in words, of seconds.
fn span(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.1} d", s / 86_400.0),
    }
}

fn dollars(amount: f64) -> String {
    format!("${}", number(amount.round()))
}

/// With commas; to three figures above a thousand.
fn number(value: f64) -> String {
    let digits = if value < 1000.0 {
        value.round()
    } else {
        (value / 10_f64.powf(value.log10().floor() - 2.0)).round() * 10_f64.powf(value.log10().floor() - 2.0)
    };
    let text = format!("{digits:.0}");
    let mut out = String::new();
    for (at, digit) in text.chars().enumerate() {
        if at > 0 && (text.len() - at) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_grouped() {
        assert_eq!(
            [7.4, 999.6, 1234.0, 123_456.0, 1e6].map(number),
            ["7", "1,000", "1,230", "123,000", "1,000,000"]
        );
        assert_eq!([90.0, 600.0, 9000.0].map(span), ["90 s", "10 min", "2.5 h"]);
    }

    #[test]
    fn the_document_is_up_to_date() {
        super::run(true).unwrap();
    }

    #[test]
    fn a_table_is_replaced_and_the_prose_stays() {
        let planner = Planner::read().unwrap();
        let text = "before\n<!-- scale:figures -->\nold\n<!-- /scale -->\nafter\n";
        let filled = fill(text, &planner).unwrap();
        assert!(
            filled.starts_with("before\n<!-- scale:figures -->\n| body |")
                && filled.ends_with("<!-- /scale -->\nafter\n")
        );
        assert_eq!(fill(&filled, &planner).unwrap(), filled);
    }
}
