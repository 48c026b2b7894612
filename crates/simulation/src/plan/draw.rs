//! Draws a plan from a seed.
//!
//! Each seed draws which kinds of faults it has, a few of many, and leaves the others out: where everything fails at once,
//! one fault explains another away.

use std::time::Duration;

use fastrand::Rng;

use super::{Burst, Calls, Effect, Fault, Plan, Setting, Temper, What, dice};

/// The first faults come after this: a start is a story of its own, and some seeds have it too.
const QUIET: u64 = 20;

/// Nearly the largest message that SNS takes, in an envelope that escapes nothing.
const LARGE: usize = 200_000;

pub(super) fn plan(seed: u64) -> Plan {
    let setting = setting(&mut dice(seed, 1));
    let faults = faults(&mut dice(seed, 2), &setting);
    Plan { seed, setting, faults }
}

fn one<T: Copy>(dice: &mut Rng, of: &[T]) -> T {
    of[dice.usize(..of.len())]
}

fn seconds(dice: &mut Rng, range: std::ops::RangeInclusive<u64>) -> Duration {
    Duration::from_millis(dice.u64(range.start() * 1000..=range.end() * 1000))
}

fn chance(dice: &mut Rng, per_mille: u32) -> bool {
    dice.u32(..1000) < per_mille
}

fn setting(dice: &mut Rng) -> Setting {
    let length = seconds(dice, 300..=1200);
    let fifo = chance(dice, 350);
    let provision = chance(dice, 300);
    let visibility = if provision { 30 } else { one(dice, &[4, 10, 30, 30, 60, 120]) };
    let bursts = (0..dice.u32(2..=6)).map(|_| burst(dice, length, fifo)).collect();
    Setting {
        length,
        fifo,
        raw: chance(dice, 400),
        provision,
        visibility,
        max_receives: one(dice, &[1, 2, 3, 3, 5, 5, 6]),
        pods: one(dice, &[1, 1, 2, 3]),
        pollers: one(dice, &[1, 2, 4]),
        in_flight: one(dice, &[1, 4, 16, 64]),
        wait_time: one(dice, &[0, 1, 5, 20, 20, 20]).pipe(Duration::from_secs),
        handler_timeout: one(dice, &[15, 60, 300]).pipe(Duration::from_secs),
        grace: one(dice, &[5, 10, 25, 25]).pipe(Duration::from_secs),
        call_timeout: one(dice, &[2, 5, 5]).pipe(Duration::from_secs),
        latency: one(dice, &[1, 2, 10, 40]).pipe(Duration::from_millis),
        deadline: one(dice, &[Some(30), Some(120), None]).map(Duration::from_secs),
        buffer: one(dice, &[4, 50, 1000]),
        bursts,
        temper: temper(dice, length),
    }
}

fn burst(dice: &mut Rng, length: Duration, fifo: bool) -> Burst {
    let bytes = one(dice, &[0, 0, 200, 2_000, 30_000, LARGE]);
    let most = if bytes == LARGE {
        12
    } else if fifo {
        20
    } else {
        60
    };
    Burst {
        at: seconds(dice, 0..=length.as_secs() * 8 / 10),
        messages: dice.u32(1..=most),
        bytes,
        groups: dice.u32(1..=5),
    }
}

fn temper(dice: &mut Rng, length: Duration) -> Temper {
    let mut of = |per_mille: u32| if dice.bool() { 0 } else { per_mille };
    let (long, fails, poison) = (of(40), of(60), of(20));
    let (panics, hangs, aborts, rejects) = (of(30), of(15), of(8), of(30));
    let work = one(dice, &[20, 200, 2_000]).pipe(Duration::from_millis).min(length / 20);
    Temper { work, long, fails, poison, panics, hangs, aborts, rejects }
}

/// A kind of faults.
type Draw = fn(&mut Rng, &Setting) -> (What, Duration);

const KINDS: &[(u32, Draw)] = &[
    (500, calls),
    (250, cut),
    (250, pages),
    (250, slow),
    (250, entries),
    (60, deaths),
    (250, emulator),
    (400, dependency),
    (200, freeze),
    (80, suspend),
    (250, kill),
    (150, kill_producer),
    (200, rollout),
    (100, scale),
    (80, delete_queue),
    (60, policy),
    (60, visibility),
];

fn faults(dice: &mut Rng, setting: &Setting) -> Vec<Fault> {
    let kinds: Vec<Draw> =
        KINDS.iter().filter(|(per_mille, _)| chance(dice, *per_mille)).map(|(_, draw)| *draw).collect();
    let mut faults = Vec::new();
    if kinds.is_empty() {
        return faults;
    }
    for _ in 0..dice.u32(1..=6) {
        let (what, lasts) = one(dice, &kinds)(dice, setting);
        let at = moment(dice, setting, &faults);
        let lasts = lasts.min(setting.length.saturating_sub(at));
        faults.push(Fault { at, lasts, what, seed: dice.u64(..) });
    }
    faults.sort_by_key(|fault| fault.at);
    faults
}

/// At any time, or as messages are published, or soon after another fault began: what meets nothing shows nothing.
fn moment(dice: &mut Rng, setting: &Setting, faults: &[Fault]) -> Duration {
    let first = if chance(dice, 100) { 0 } else { QUIET };
    let any = seconds(dice, first..=setting.length.as_secs().max(first + 1));
    let (near, burst) = (seconds(dice, 0..=20), one(dice, &[0, 1, 2, 3]));
    let at = match dice.u32(..10) {
        0..=2 => {
            setting.bursts.get(burst).map(|burst| (burst.at + near).saturating_sub(Duration::from_secs(5)))
        }
        3..=4 => faults.last().map(|fault| fault.at + near),
        _ => None,
    };
    at.filter(|at| *at < setting.length).unwrap_or(any)
}

const CALLS: [Calls; 6] =
    [Calls::All, Calls::Receives, Calls::Deletes, Calls::Leases, Calls::Publishes, Calls::Topology];

fn network(dice: &mut Rng, setting: &Setting, effect: Effect, per_mille: u32) -> What {
    let pod = if dice.bool() { Some(dice.usize(..setting.pods)) } else { None };
    What::Network { of: one(dice, &CALLS), pod, effect, per_mille }
}

fn calls(dice: &mut Rng, setting: &Setting) -> (What, Duration) {
    let late = seconds(dice, 1..=12);
    let effects = [
        Effect::LoseRequest,
        Effect::LoseResponse,
        Effect::Refuse,
        Effect::ResetAfter,
        Effect::Late(late),
        Effect::LateResponse(late),
        Effect::Throttle,
        Effect::ServerError,
        Effect::Deny,
        Effect::Expired,
    ];
    let (effect, per_mille) = (one(dice, &effects), one(dice, &[50, 200, 600, 1000]));
    (network(dice, setting, effect, per_mille), seconds(dice, 5..=120))
}

fn cut(dice: &mut Rng, setting: &Setting) -> (What, Duration) {
    let effect = one(dice, &[Effect::LoseRequest, Effect::LoseResponse, Effect::Refuse]);
    let pod = if dice.bool() { Some(dice.usize(..setting.pods)) } else { None };
    (What::Network { of: Calls::All, pod, effect, per_mille: 1000 }, seconds(dice, 1..=180))
}

fn pages(dice: &mut Rng, setting: &Setting) -> (What, Duration) {
    const STATUSES: [u16; 16] =
        [200, 204, 301, 302, 400, 401, 403, 404, 407, 408, 413, 418, 429, 500, 502, 503];
    let effect = Effect::Page(one(dice, &STATUSES), dice.bool());
    let per_mille = one(dice, &[100, 500, 1000]);
    (network(dice, setting, effect, per_mille), seconds(dice, 5..=90))
}

fn slow(dice: &mut Rng, setting: &Setting) -> (What, Duration) {
    let effects =
        [Effect::Slow(500), Effect::Slow(2_000), Effect::Slow(20_000), Effect::Stall, Effect::Truncate];
    let (effect, per_mille) = (one(dice, &effects), one(dice, &[100, 500, 1000]));
    (network(dice, setting, effect, per_mille), seconds(dice, 5..=90))
}

fn entries(dice: &mut Rng, _: &Setting) -> (What, Duration) {
    let per_mille = one(dice, &[200, 1000]);
    let effect = one(dice, &[Effect::Misname, Effect::Forget]);
    let of = one(dice, &[Calls::Deletes, Calls::Leases, Calls::Publishes, Calls::All]);
    (What::Network { of, pod: None, effect, per_mille }, seconds(dice, 5..=60))
}

fn deaths(dice: &mut Rng, setting: &Setting) -> (What, Duration) {
    let pod = if dice.bool() { Some(dice.usize(..setting.pods)) } else { None };
    let (of, per_mille) = (Calls::Receives, one(dice, &[300, 1000, 1000]));
    (What::Network { of, pod, effect: Effect::Panic, per_mille }, seconds(dice, 5..=240))
}

fn emulator(dice: &mut Rng, _: &Setting) -> (What, Duration) {
    const FAULTS: [&str; 7] = [
        "PublishBatch: probability=0.3 fail-entries=InternalError",
        "PublishBatch: probability=0.3 leave-out-entries",
        "DeleteMessageBatch: probability=0.5 fail-entries=InternalError",
        "DeleteMessageBatch: probability=0.5 leave-out-entries",
        "ChangeMessageVisibilityBatch: probability=0.5 fail-entries=InternalError",
        "ReceiveMessage: probability=0.2 lose-lease=30s",
        "ReceiveMessage: probability=0.2 duplicate",
    ];
    (What::Emulator(one(dice, &FAULTS).to_owned()), seconds(dice, 5..=60))
}

fn dependency(dice: &mut Rng, _: &Setting) -> (What, Duration) {
    (What::DependencyDown, seconds(dice, 5..=300))
}

fn freeze(dice: &mut Rng, _: &Setting) -> (What, Duration) {
    (What::Freeze(seconds(dice, 1..=60)), Duration::ZERO)
}

fn suspend(dice: &mut Rng, _: &Setting) -> (What, Duration) {
    (What::Suspend(seconds(dice, 1..=600)), Duration::ZERO)
}

fn kill(dice: &mut Rng, setting: &Setting) -> (What, Duration) {
    (What::Kill(dice.usize(..setting.pods), seconds(dice, 1..=30)), Duration::ZERO)
}

fn kill_producer(dice: &mut Rng, _: &Setting) -> (What, Duration) {
    (What::KillProducer(seconds(dice, 1..=30)), Duration::ZERO)
}

fn rollout(_: &mut Rng, _: &Setting) -> (What, Duration) {
    (What::Rollout, Duration::ZERO)
}

fn scale(dice: &mut Rng, _: &Setting) -> (What, Duration) {
    (What::Scale(one(dice, &[-1, 1, 2])), Duration::ZERO)
}

fn delete_queue(dice: &mut Rng, _: &Setting) -> (What, Duration) {
    (What::DeleteQueue(seconds(dice, 1..=60)), Duration::ZERO)
}

fn policy(dice: &mut Rng, _: &Setting) -> (What, Duration) {
    (What::BreakPolicy, seconds(dice, 5..=60))
}

fn visibility(dice: &mut Rng, _: &Setting) -> (What, Duration) {
    (What::SetVisibility(one(dice, &[5, 30, 90])), Duration::ZERO)
}

/// A value through a function, where the arguments come first.
trait Pipe: Sized {
    fn pipe<T>(self, into: impl FnOnce(Self) -> T) -> T {
        into(self)
    }
}

impl<T> Pipe for T {}
