//! The tables of handlers that take time, FIFO queues, throttling, outages, and the whole pipeline.

use std::fmt::Write;

use super::table::{heading, thousands};
use crate::results::{Ordered, Outage, Piped, Results, Throttled, Worked};
use crate::span::percentile;

/// All of them, as far as they were measured.
pub fn tables(page: &mut String, results: &Results) {
    worked(page, &results.worked);
    ordered(page, &results.ordered);
    throttled(page, &results.throttled);
    outages(page, &results.outages);
    piped(page, &results.piped);
}

fn worked(page: &mut String, worked: &[Worked]) {
    let Some(first) = worked.first() else { return };
    heading(page, "Handlers that take time");
    let _ = writeln!(
        page,
        "{} in flight. By Little's law no consumer is faster than messages in flight divided by the handler's time. Latencies \
         are those from publish to handler, at 80 % of the measured rate.\n",
        first.in_flight
    );
    let _ = writeln!(
        page,
        "| handler | | messages per second | of Little's law | p50, ms | p99, ms |\n| --- | --- | --- | --- | --- | --- |"
    );
    for Worked { contender, handler_ms, most, rate, millis, .. } in worked {
        let at = |p| percentile(millis, p).unwrap_or(f64::NAN);
        let (name, rate_shown, share) = (contender.name(), thousands(*rate), rate / most);
        let _ = writeln!(
            page,
            "| {handler_ms} ms | {name} | {rate_shown} | {share:.2} × {} | {:.2} | {:.2} |",
            thousands(*most),
            at(50.0),
            at(99.0)
        );
    }
    page.push('\n');
}

fn ordered(page: &mut String, ordered: &[Ordered]) {
    if ordered.is_empty() {
        return;
    }
    heading(page, "FIFO queues");
    let _ = writeln!(
        page,
        "| message groups | handler | | messages per second | of what the groups allow | out of order |\n\
         | --- | --- | --- | --- | --- | --- |"
    );
    for Ordered { contender, groups, handler_ms, allowed, span, out_of_order } in ordered {
        let rate = span.rate();
        let share = allowed.map_or("-".to_owned(), |allowed| format!("{:.2} ×", rate / allowed));
        let handler = if *handler_ms > 0 { format!("{handler_ms} ms") } else { "nothing".to_owned() };
        let wrong = if *handler_ms > 0 { out_of_order.to_string() } else { "-".to_owned() };
        let (groups, name) = (thousands(*groups as f64), contender.name());
        let _ = writeln!(page, "| {groups} | {handler} | {name} | {} | {share} | {wrong} |", thousands(rate));
    }
    page.push('\n');
}

fn throttled(page: &mut String, throttled: &[Throttled]) {
    if throttled.is_empty() {
        return;
    }
    heading(page, "Throttling");
    let _ = writeln!(
        page,
        "The endpoint lets half as many calls of each action pass as were made before; calls that are throttled count.\n\n\
         | | messages per second, before | calls per message | messages per second, throttled | calls per message | relative | \
         90 % of the rate again after, ms |\n| --- | --- | --- | --- | --- | --- | --- |"
    );
    for Throttled { contender, before, under, recovered_ms, .. } in throttled {
        let _ = writeln!(
            page,
            "| {} | {} | {:.2} | {} | {:.2} | {:.2} × | {} |",
            contender.name(),
            thousands(before.rate()),
            before.per_message(),
            thousands(under.rate()),
            under.per_message(),
            under.per_message() / before.per_message(),
            thousands(*recovered_ms),
        );
    }
    page.push('\n');
}

fn outages(page: &mut String, outages: &[Outage]) {
    let Some(first) = outages.first() else { return };
    heading(page, "An outage behind the handler");
    let _ = writeln!(
        page,
        "{:.0} s, while {} messages per second are published.\n\n\
         | the service behind `HANDLER=http` | requests refused | first message handled after, ms | all caught up after, ms | lost | \
         dead letters | handled twice |\n| --- | --- | --- | --- | --- | --- | --- |",
        first.seconds,
        thousands(first.rate)
    );
    for Outage { kind, refused, first_ms, caught_up_ms, lost, dead, twice, .. } in outages {
        let (refused, first) = (thousands(*refused as f64), thousands(*first_ms));
        let caught_up = thousands(*caught_up_ms);
        let _ = writeln!(page, "| {kind} | {refused} | {first} | {caught_up} | {lost} | {dead} | {twice} |");
    }
    page.push('\n');
}

fn piped(page: &mut String, piped: &[Piped]) {
    if piped.is_empty() {
        return;
    }
    heading(page, "`lifeline up --input`");
    let _ = writeln!(
        page,
        "| `RUST_LOG` | lines | lines per second | CPU µs per line | peak memory, MB |\n| --- | --- | --- | --- | --- |"
    );
    for Piped { log, lines, seconds, cpu, peak_kb } in piped {
        let (count, memory) = (*lines as f64, *peak_kb as f64 * 1024.0 / 1e6);
        let (shown, rate) = (thousands(count), thousands(count / seconds));
        let _ = writeln!(page, "| {log} | {shown} | {rate} | {:.1} | {memory:.1} |", cpu * 1e6 / count);
    }
    page.push('\n');
}
