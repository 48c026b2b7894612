//! Generates the tables of `docs/scale.md`, between `<!-- scale:name -->` and `<!-- /scale -->`. The text around them is
//! written by hand.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::autoscale::{self, Course};
use crate::measured::{self, Measured};
use crate::model::{self, BATCH, Costs, Pod};
use crate::plan::{CALL, Demand, Planner, USED};
use crate::settings::Settings;
use crate::trouble::Trouble;

const RATES: [f64; 4] = [1e3, 1e4, 1e5, 1e6];
const HANDLERS: [u64; 3] = [1, 100, 1000];
const BODIES: [usize; 3] = [200, 10_000, 200_000];

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/scale.md")
}

/// Writes the page, or with `check` fails if it is out of date.
pub(crate) fn run(check: bool) -> Result<()> {
    let text = std::fs::read_to_string(page()).context("docs/scale.md")?;
    let fresh = fill(&text, &Planner::read()?)?;
    if check {
        ensure!(text == fresh, "docs/scale.md is out of date; in bench/, run `cargo run -p scale -- doc`");
    } else if text != fresh {
        std::fs::write(page(), fresh)?;
    }
    Ok(())
}

/// The page with every table generated again.
fn fill(text: &str, planner: &Planner) -> Result<String> {
    const BEGIN: &str = "<!-- scale:";
    const END: &str = "<!-- /scale -->";
    let mut parts = text.split(BEGIN);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once(" -->").context("a marker has no end")?;
        let (_, rest) = rest.split_once(END).with_context(|| format!("{name} has no {END}"))?;
        write!(out, "{BEGIN}{name} -->\n{}{END}{rest}", table(name, planner)?)?;
    }
    Ok(out)
}

fn table(name: &str, planner: &Planner) -> Result<String> {
    Ok(match name {
        "pod" => pod(planner),
        "publisher" => publisher(planner),
        "figures" => figures(planner),
        "measured" => measured()?,
        "limits" => limits(planner),
        "calls" => calls(planner),
        "million" => million(planner),
        "pods" => pods(planner),
        "trouble" => Trouble::read()?.table(),
        "backlog" => backlog(planner),
        "keda" => keda(planner),
        other => anyhow::bail!("no table is called {other}"),
    })
}

fn pod(planner: &Planner) -> String {
    let Settings { pollers, max_in_flight, threads, .. } = planner.settings;
    let cores = planner.cluster.cores;
    format!(
        "| limited by | messages per second | setting |\n| --- | --- | --- |\n\
         | pollers | `POLLERS × {BATCH} / R` | `POLLERS`: {}, at most {} |\n\
         | messages in flight | `MAX_IN_FLIGHT / (R + H + R)` | `MAX_IN_FLIGHT`: {}, at most {} |\n\
         | CPU | `cores / C` | the CPU limit of the pod ({cores} core) and `THREADS` ({}) |\n",
        pollers.default,
        pollers.most,
        max_in_flight.default,
        grouped(max_in_flight.most),
        threads.default,
    )
}

fn publisher(planner: &Planner) -> String {
    let (concurrency, bytes) = (planner.settings.publish_concurrency, model::PUBLISH_BYTES);
    let calls = concurrency.default;
    format!(
        "A **producer** has at most `PUBLISH_CONCURRENCY` ({calls}, at most {}) calls in flight, and starts no further call\nwhile \
         {} MiB are. That is `PUBLISH_CONCURRENCY × {BATCH} / R` messages per second for messages up to {:.0} kB, fewer for\n\
         larger ones, or `cores / C`.\n",
        concurrency.most,
        bytes >> 20,
        (bytes / calls / BATCH) as f64 / 1000.0,
    )
}

/// What grows on the way to a million messages per second: a handler of 100 ms, and the smallest bodies.
fn million(planner: &Planner) -> String {
    const HANDLER: Duration = Duration::from_millis(100);
    let mut out = String::from(
        "| messages per second | producer pods | consumer pods | cores, both | queues | calls per second | of the SNS quota | SNS \
         and SQS per month |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    let quota = planner.aws.publish_quota("us-east-1");
    for rate in [1e3, 1e4, quota, 1e5, 1e6] {
        let demand = Demand { rate, bytes: BODIES[0] };
        let (calls, consumers) = (planner.calls(demand), planner.consumers(demand, HANDLER));
        let cores = consumers.cores + rate * planner.figures.producer_cost(demand.bytes).as_secs_f64();
        out += &format!(
            "| {} | {} | {} | {cores:.1} | {} | {} | {:.2} × | {} |\n",
            number(rate),
            number(calls.producers),
            number(consumers.pods),
            number(consumers.queues),
            number(calls.publishes + calls.receives + calls.deletes),
            calls.quota,
            dollars(calls.sns + calls.sqs),
        );
    }
    out
}

fn figures(planner: &Planner) -> String {
    let mut out = String::from(
        "| body | consumer: CPU time per message | peak memory | producer: CPU time per message | peak memory |\n\
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
        "{out}\nEach small message in flight adds {:.0} KiB to a consumer. Measured by {}.\n",
        planner.figures.consumer_in_flight_kib, planner.figures.source
    )
}

fn measured() -> Result<String> {
    let measured = Measured::read()?;
    let lines: String = measured.lines().collect();
    Ok(format!("{}\n{lines}\nMeasured on {}.\n", measured::HEAD, measured.date))
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
    let mut out = String::from("| limit | value | source, date |\n| --- | --- | --- |\n");
    for (what, figure, source, date) in rows {
        out += &format!("| {what} | {figure} | <{source}>, {date} |\n");
    }
    let prices = &aws.prices;
    let tiers: Vec<_> = prices.sqs_tiers.iter().map(|(_, price)| format!("${price:.2}")).collect();
    out += &format!(
        "| SQS, a million requests of {} KiB, {} | {}: cheaper above 100 and 200 × 10⁹ per month; FIFO ${:.2} | {}, {} |\n",
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
        "| messages per second | body | producer pods | publishes per second | receives | deletes | SNS per month | SQS per month | \
         per million messages | quota of us-east-1 |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
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
        "| messages per second | handler | body | consumer pods | `MAX_IN_FLIGHT`/`POLLERS` | rate per pod | memory per pod | \
         cores, total | in flight, total | a pod is limited by | AWS limit exceeded |\n\
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
                    planner.aws_limit(demand, &consumers),
                );
            }
        }
    }
    out
}

/// A pod with the settings of the base.
fn standard(planner: &Planner, handler: Duration) -> (Pod, Costs) {
    let pod = Pod {
        pollers: planner.settings.pollers.default,
        max_in_flight: planner.cluster.max_in_flight,
        handler,
    };
    let message = planner.figures.consumer_cost(200).div_f64(USED);
    let costs = Costs { call: CALL, message, cores: planner.cluster.cores };
    (pod, costs)
}

fn backlog(planner: &Planner) -> String {
    let mut out =
        String::from("| backlog | handler | 1 pod | 10 pods | 100 pods |\n| --- | --- | --- | --- | --- |\n");
    for messages in [1e5, 1e6, 1e7] {
        for handler in HANDLERS.map(Duration::from_millis) {
            let (pod, costs) = standard(planner, handler);
            let each = model::drain(&pod, &costs).messages;
            let after = [1.0, 10.0, 100.0].map(|pods| span(messages / (each * pods)));
            out += &format!("| {} | {} | {} |\n", number(messages), time(handler), after.join(" | "));
        }
    }
    out
}

fn keda(planner: &Planner) -> String {
    let cluster = &planner.cluster;
    let mut out = String::from(
        "| load | handler | rate per pod | pods, maximum | messages waiting, maximum | recovered after |\n\
         | --- | --- | --- | --- | --- | --- |\n",
    );
    for handler in HANDLERS.map(Duration::from_millis) {
        let (pod, costs) = standard(planner, handler);
        let each = model::drain(&pod, &costs).messages;
        let time_in_flight = model::time_in_flight(&pod, &costs).as_secs_f64();
        let courses = [
            ("a step from 0 to half of the maximum", 0.5, 0.0),
            ("a step from 0 to 90 % of the maximum", 0.9, 0.0),
            ("a 10 minute outage at half of the maximum", 0.5, 600.0),
        ];
        for (what, share, outage) in courses {
            let rate = each * cluster.max_replicas as f64 * share;
            let course = Course { backlog: rate * outage, before: 0.0, after: rate, step_at: 0 };
            let seconds = autoscale::run(cluster, each, time_in_flight, course, 7200);
            let most = seconds.iter().map(|second| second.pods).max().unwrap_or(0);
            let waiting = seconds.iter().map(|second| second.backlog).fold(0.0, f64::max);
            let over =
                autoscale::recovery(course, &seconds).map_or("not in 2 h".to_owned(), |s| span(s as f64));
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

/// Seconds, in the unit that fits.
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

/// With commas; rounded to three digits above a thousand.
fn number(value: f64) -> String {
    let digits = if value < 1000.0 {
        value.round()
    } else {
        (value / 10_f64.powf(value.log10().floor() - 2.0)).round() * 10_f64.powf(value.log10().floor() - 2.0)
    };
    grouped(digits as usize)
}

/// With commas.
fn grouped(value: usize) -> String {
    let text = value.to_string();
    let mut out = String::new();
    for (at, digit) in text.chars().enumerate() {
        if at > 0 && (text.len() - at).is_multiple_of(3) {
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
    fn tables_are_replaced_and_the_text_stays() {
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
