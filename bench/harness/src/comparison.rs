//! Runs a comparison, part by part.
//!
//! Each round runs every contender once in each of its cells, so that disturbances of the machine affect all of them.

use std::future::Future;
use std::time::Instant;

use crate::contender::Contender;
use crate::lab::Lab;
use crate::latency::{heavy, light, most};
use crate::life::{calls, first_message, idle, stop_busy};
use crate::plan::{CENTRE, Effort, IN_FLIGHT, Part, SERIES, alive, among, cells_of};
use crate::results::{Cell, Latency, Life, Load, Results, Throttled};
use crate::span::{percentile, thinned};
use crate::throughput::Plan;
use crate::{fifo, outage, throttling, up, working};

/// Measures the parts of a comparison into `results`, after printing how long each will take.
pub async fn compare(
    lab: &Lab,
    contenders: &[Contender],
    parts: &[Part],
    effort: Effort,
    results: &mut Results,
) {
    let seconds: Vec<f64> = parts.iter().map(|part| part.seconds(contenders, effort)).collect();
    let began = Instant::now();
    progress(&format!("the plan, {:.0} min in all:", (seconds.iter().sum::<f64>() / 60.0).ceil()));
    for (part, seconds) in parts.iter().zip(&seconds) {
        progress(&format!("  {:12} {seconds:5.0} s", part.name()));
    }
    for (part, seconds) in parts.iter().zip(&seconds) {
        let began = Instant::now();
        match part {
            Part::Drain | Part::Publish | Part::Tls | Part::Raw => {
                throughput(lab, *part, contenders, effort, results).await;
            }
            Part::Starts => lives(lab, contenders, effort, results).await,
            Part::Latency => latencies(lab, contenders, effort, results).await,
            Part::Calls => all_calls(lab, contenders, effort, results).await,
            Part::Handlers => handlers(lab, contenders, results).await,
            Part::Fifo => fifo_queues(lab, contenders, results).await,
            Part::Throttling => throttlings(lab, contenders, effort, results).await,
            Part::Outage => outages(lab, contenders, effort, results).await,
            Part::Up => pipes(lab, contenders, effort, results).await,
            Part::Idle => idles(lab, contenders, effort, results).await,
        }
        let took = began.elapsed().as_secs_f64();
        progress(&format!("{} took {took:.0} s of {seconds:.0} s planned", part.name()));
    }
    results.about.insert("took".into(), format!("{:.1} min", began.elapsed().as_secs_f64() / 60.0));
}

async fn idles(lab: &Lab, contenders: &[Contender], effort: Effort, results: &mut Results) {
    progress("idle: all contenders at the same time");
    let resting: Vec<_> = alive(contenders).collect();
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

async fn handlers(lab: &Lab, contenders: &[Contender], results: &mut Results) {
    for handler_ms in working::HANDLERS {
        for contender in among(contenders, &working::CONTENDERS) {
            let what = format!("handler of {handler_ms} ms: {}", contender.name());
            match working::work(lab, contender, CENTRE.0, handler_ms).await {
                Ok(worked) => {
                    let p99 = percentile(&worked.millis, 99.0).unwrap_or(f64::NAN);
                    let share = worked.rate / worked.most;
                    progress(&format!(
                        "{what}: {:.0}/s, {share:.2} x Little's, p99 {p99:.2} ms",
                        worked.rate
                    ));
                    results.worked.push(worked);
                }
                Err(error) => fail(results, &what, &error),
            }
        }
    }
}

async fn fifo_queues(lab: &Lab, contenders: &[Contender], results: &mut Results) {
    for handler_ms in fifo::HANDLERS {
        for groups in fifo::GROUPS {
            // The bare loop would handle the messages of a group at the same time.
            let some: &[_] =
                if handler_ms > 0 { &[Contender::Lifeline] } else { &[Contender::Lifeline, Contender::Bare] };
            for contender in among(contenders, some) {
                let what = format!("FIFO, {groups} groups, handler of {handler_ms} ms: {}", contender.name());
                match fifo::drain(lab, contender, CENTRE.0, groups, handler_ms).await {
                    Ok(ordered) => {
                        let (rate, wrong) = (ordered.span.rate(), ordered.out_of_order);
                        progress(&format!("{what}: {rate:.0}/s, {wrong} out of order"));
                        results.ordered.push(ordered);
                    }
                    Err(error) => fail(results, &what, &error),
                }
            }
        }
    }
}

async fn throttlings(lab: &Lab, contenders: &[Contender], effort: Effort, results: &mut Results) {
    for contender in among(contenders, &throttling::CONTENDERS) {
        let what = format!("throttling: {}", contender.name());
        match throttling::throttle(lab, contender, CENTRE.0, effort.trouble).await {
            Ok(throttled) => {
                let Throttled { before, under, recovered_ms, .. } = &throttled;
                progress(&format!(
                    "{what}: {:.0}/s with {:.2} calls per message, then {:.0}/s with {:.2}, recovered in {recovered_ms:.0} ms",
                    before.rate(),
                    before.per_message(),
                    under.rate(),
                    under.per_message(),
                ));
                results.throttled.push(throttled);
            }
            Err(error) => fail(results, &what, &error),
        }
    }
}

async fn outages(lab: &Lab, contenders: &[Contender], effort: Effort, results: &mut Results) {
    for kind in outage::KINDS {
        for _ in among(contenders, &[Contender::Lifeline]) {
            let what = format!("outage behind the handler: {kind:?}");
            match outage::outage(lab, kind, effort.trouble, CENTRE.0).await {
                Ok(outage) => {
                    progress(&format!(
                        "{what}: first message after {:.0} ms, caught up after {:.0} ms, {} lost, {} dead, {} twice",
                        outage.first_ms, outage.caught_up_ms, outage.lost, outage.dead, outage.twice
                    ));
                    results.outages.push(outage);
                }
                Err(error) => fail(results, &what, &error),
            }
        }
    }
}

async fn pipes(lab: &Lab, contenders: &[Contender], effort: Effort, results: &mut Results) {
    for log in up::LOGS {
        for _ in among(contenders, &[Contender::Lifeline]) {
            let what = format!("lifeline up, log at {log}");
            match up::up(lab, log, effort.lines).await {
                Ok(piped) => {
                    let rate = piped.lines as f64 / piped.seconds;
                    progress(&format!("{what}: {rate:.0} lines/s, {} kB", piped.peak_kb));
                    results.piped.push(piped);
                }
                Err(error) => fail(results, &what, &error),
            }
        }
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

async fn throughput(lab: &Lab, part: Part, contenders: &[Contender], effort: Effort, results: &mut Results) {
    for series in SERIES.iter().filter(|series| series.part == part) {
        let plans = series.plans(contenders, effort);
        let mut planned: Vec<(Plan, Cell, bool)> =
            plans.into_iter().map(|plan| (plan, plan.cell(), true)).collect();
        for round in 1..=effort.rounds {
            for (plan, cell, works) in &mut planned {
                if !*works || !effort.wants_more(cell) {
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
    let mut lives: Vec<Life> = alive(contenders)
        .map(|contender| Life {
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
    let rounds = effort.latency_rounds();
    for _ in 0..rounds {
        for contender in alive(contenders) {
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
    for contender in alive(contenders) {
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
