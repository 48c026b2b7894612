//! Plays a plan: sets the world up, does what the plan says when it says so, waits until all is settled, and judges.

#![allow(clippy::print_stdout, reason = "what ends the program says why")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use lifeline_emulator::{Emulator, Queue};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{Instant, advance, sleep, sleep_until};

use crate::handler::PANIC;
use crate::invariants::Dead;
use crate::journal::Journal;
use crate::network::Network;
use crate::observer::{Facts, Observer};
use crate::plan::{Burst, Plan, What};
use crate::pod::{self, Image, Pod};
use crate::shop::{Outbox, Shop};

/// How often health is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// After the last fault, everything must be as it should be within this: the longest backoff is 20 s, the breaker's 4 s, a
/// crashed pod waits for 60 s.
const RECOVERY: Duration = Duration::from_secs(90);

/// And all messages must be handled or dead within this: the last retries of a poison message wait for a minute or two, a
/// handler that hangs for five.
const SETTLING: Duration = Duration::from_secs(40 * 60);

/// The longest until a pod that crashed is started again.
const RESTART: Duration = Duration::from_secs(32);

/// How soon topic, queue and policy are whole again after somebody broke them: queues may be created again after a minute,
/// and what is not provisioned is looked at every five.
const REPAIR: Duration = Duration::from_secs(6 * 60);

/// How long five seconds of simulated time may take at most: a run takes a second or two in all.
const STANDSTILL: Duration = Duration::from_secs(120);

/// How a run went.
#[derive(Debug)]
pub struct Report {
    /// What happened.
    pub journal: Journal,
    /// What must not have happened.
    pub violations: Vec<String>,
    /// Interesting states that were reached.
    pub reached: BTreeSet<&'static str>,
    /// Calls of SNS and SQS.
    pub calls: u64,
    /// How much time passed in it.
    pub simulated: Duration,
}

/// Plays a plan on this thread, on time that jumps to the next timer.
///
/// # Panics
/// When there is no runtime to be had.
pub fn run(plan: &Plan) -> Report {
    silence_planned_panics();
    // what the libraries draw is drawn per thread: jitter, ids
    fastrand::seed(plan.seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without sockets needs nothing");
    let passing = watch_time(plan.seed);
    let observer = runtime.block_on(async { Box::pin(Run::new(plan, passing).play()).await });
    drop(runtime);
    let mut facts = observer.facts();
    Report {
        journal: std::mem::replace(&mut facts.journal, Journal::new()),
        violations: std::mem::take(&mut facts.violations),
        reached: std::mem::take(&mut facts.reached),
        calls: facts.calls,
        simulated: facts.ended,
    }
}

/// A task that spins stops simulated time, and with it all that could notice. So a thread of its own looks whether time passes,
/// and ends the program if it does not.
fn watch_time(seed: u64) -> mpsc::Sender<()> {
    let (passing, passes) = mpsc::channel();
    std::thread::spawn(move || {
        loop {
            match passes.recv_timeout(STANDSTILL) {
                Ok(()) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    println!("seed {seed}: INVARIANT time does not pass: a task spins");
                    std::process::exit(1);
                }
            }
        }
    });
    passing
}

fn silence_planned_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if panic.payload().downcast_ref::<&str>() != Some(&PANIC) {
                before(panic);
            }
        }));
    });
}

/// What is to be done next.
#[derive(Debug, Clone, Copy)]
enum Step {
    Begin(usize),
    End(usize),
    Publish(usize),
    StartPod(usize),
    Replace(usize),
    StartShop,
    RestoreQueue,
    Look,
}

struct Run<'a> {
    plan: &'a Plan,
    image: Image,
    emulator: Emulator,
    queue: Option<Queue>,
    outbox: Outbox,
    observer: Observer,
    start: Instant,
    agenda: BTreeMap<(Duration, u64), Step>,
    planned: u64,
    pods: Vec<Option<Pod>>,
    generation: u32,
    crashed: Vec<u32>,
    shop: Option<Shop>,
    drains: JoinSet<()>,
    crashes: UnboundedReceiver<usize>,
    /// Told that time passes.
    passing: mpsc::Sender<()>,
    /// What was published before this may be lost: somebody outside broke what SNS delivers to.
    excused_until: Duration,
}

impl<'a> Run<'a> {
    fn new(plan: &'a Plan, passing: mpsc::Sender<()>) -> Self {
        let setting = &plan.setting;
        let observer = Observer::new();
        let emulator = Emulator::builder().seed(plan.seed).starting_at(pod::beginning()).build();
        let network = Network::new(&emulator, observer.clone(), setting.latency, plan.seed);
        let (sender, crashes) = unbounded_channel();
        let ending = if setting.fifo { ".fifo" } else { "" };
        let image = Image {
            seed: plan.seed,
            setting: setting.clone(),
            observer: observer.clone(),
            network,
            queue: format!("jobs{ending}"),
            topic: format!("events{ending}"),
            down: Arc::new(AtomicBool::new(false)),
            crashes: sender,
        };
        Self {
            plan,
            image,
            emulator,
            queue: None,
            outbox: Outbox::new(plan.seed, setting.fifo),
            observer,
            start: Instant::now(),
            agenda: BTreeMap::new(),
            planned: 0,
            pods: (0..setting.pods).map(|_| None).collect(),
            generation: 0,
            crashed: vec![0; setting.pods],
            shop: None,
            drains: JoinSet::new(),
            crashes,
            passing,
            excused_until: Duration::ZERO,
        }
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn at(&mut self, at: Duration, step: Step) {
        self.planned += 1;
        self.agenda.insert((at, self.planned), step);
    }

    async fn play(mut self) -> Observer {
        let plan = self.plan;
        if !plan.setting.provision {
            self.make_queue();
        }
        for slot in 0..self.pods.len() {
            self.at(Duration::ZERO, Step::StartPod(slot));
        }
        self.at(Duration::ZERO, Step::StartShop);
        self.at(LOOK, Step::Look);
        for (number, burst) in plan.setting.bursts.iter().enumerate() {
            self.at(burst.at, Step::Publish(number));
        }
        for (number, fault) in plan.faults.iter().enumerate() {
            self.at(fault.at, Step::Begin(number));
            if fault.lasts > Duration::ZERO {
                self.at(fault.at + fault.lasts, Step::End(number));
            }
        }
        self.until(plan.setting.length + Duration::from_secs(1)).await;
        self.observer.write("operator", "all faults are over");
        self.until(self.now().max(self.excused_until) + RECOVERY).await;
        let last = Burst { at: self.now(), messages: 3, bytes: 0, groups: 1 };
        self.outbox.write(&last, &self.observer);
        let restarts = self.crashed.iter().sum::<u32>();
        let until = self.now() + SETTLING;
        // messages that end their process take their time
        let more = |crashed: &[u32]| RESTART * (crashed.iter().sum::<u32>() - restarts);
        while !self.is_settled() && self.now() < until + more(&self.crashed) {
            self.until(self.now() + Duration::from_secs(2)).await;
        }
        let observer = self.observer.clone();
        self.finish().await;
        observer
    }

    fn queue(&mut self) -> Queue {
        let (emulator, name) = (&self.emulator, &self.image.queue);
        self.queue.get_or_insert_with(|| emulator.queue(name)).clone()
    }

    /// As the operator makes it, where the processes do not.
    fn make_queue(&mut self) {
        let setting = &self.plan.setting;
        let queue = self.queue().visibility_timeout(setting.visibility).max_receives(setting.max_receives);
        let topic = self.emulator.topic(&self.image.topic);
        let _subscribed =
            if setting.raw { topic.subscribed_raw_by(&queue) } else { topic.subscribed_by(&queue) };
        self.queue = Some(queue);
    }

    /// Does what is due until then.
    async fn until(&mut self, until: Duration) {
        loop {
            let due = self.agenda.first_key_value().map_or(until, |((at, _), _)| (*at).min(until));
            tokio::select! {
                biased;
                Some(slot) = self.crashes.recv() => self.crash(slot),
                () = sleep_until(self.start + due) => {
                    let Some(((at, _), step)) = self.agenda.first_key_value().map(|(key, step)| (*key, *step)) else { return };
                    if at > until {
                        return;
                    }
                    self.agenda.pop_first();
                    self.step(step).await;
                }
            }
        }
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Begin(number) => self.begin(number).await,
            Step::End(number) => self.end(number),
            Step::Publish(number) => self.outbox.write(&self.plan.setting.bursts[number], &self.observer),
            Step::StartPod(slot) => self.start_pod(slot),
            Step::Replace(slot) => {
                if let Some(old) = self.pods[slot].take() {
                    self.start_pod(slot);
                    self.drains.spawn(old.drain());
                }
            }
            Step::StartShop => self.start_shop(),
            Step::RestoreQueue => {
                self.observer.write("operator", "makes the queue again");
                self.queue = None;
                self.make_queue();
            }
            Step::Look => {
                self.look();
                self.passing.send(()).ok();
                self.at(self.now() + LOOK, Step::Look);
            }
        }
    }

    fn start_pod(&mut self, slot: usize) {
        if self.pods[slot].is_none() {
            self.generation += 1;
            self.pods[slot] = Some(Pod::start(&self.image, slot, format!("pod-{slot}.{}", self.generation)));
        }
    }

    fn start_shop(&mut self) {
        if self.shop.is_none() {
            self.generation += 1;
            let name = format!("shop.{}", self.generation);
            let Image { setting, network, observer, topic, .. } = &self.image;
            self.shop = Some(Shop::start(setting, &self.outbox, network, observer, topic.clone(), name));
        }
    }

    /// A message ended the process; it is started again, later each time.
    fn crash(&mut self, slot: usize) {
        let Some(pod) = self.pods[slot].take_if(|pod| !pod.process.is_alive()) else { return };
        pod.kill();
        self.crashed[slot] += 1;
        let wait = Duration::from_secs(1 << self.crashed[slot].min(5)).min(RESTART);
        self.at(self.now() + wait, Step::StartPod(slot));
    }

    async fn begin(&mut self, number: usize) {
        let plan = self.plan;
        let fault = &plan.faults[number];
        self.observer.write("operator", format!("FAULT {number}: {fault}"));
        let now = self.now();
        match &fault.what {
            What::Network { .. } => self.image.network.begin(number, fault),
            What::Emulator(text) => {
                let fault = text.parse().unwrap_or_else(|error| unreachable!("{error}"));
                self.image.network.injected(number as u64, self.emulator.inject(fault));
            }
            What::DependencyDown => self.image.down.store(true, Ordering::Relaxed),
            What::Freeze(time) => {
                self.observer.disturb(None, "freeze");
                advance(*time).await;
                self.observer.disturb(None, "freeze");
                self.observer.write("operator", "all go on");
            }
            What::Suspend(time) => {
                self.observer.disturb(None, "freeze");
                self.emulator.skip(*time);
                self.observer.facts().suspended += *time;
                self.observer.disturb(None, "freeze");
                self.observer.write("operator", "the machine wakes up");
            }
            What::Kill(slot, wait) => {
                if let Some(pod) = self.pods[*slot].take() {
                    self.observer.disturb(Some(pod.process.name()), "kill");
                    pod.kill();
                    self.at(now + *wait, Step::StartPod(*slot));
                }
            }
            What::KillProducer(wait) => {
                if let Some(shop) = self.shop.take() {
                    shop.kill();
                    self.at(now + *wait, Step::StartShop);
                }
            }
            What::Rollout => {
                for slot in 0..self.pods.len() {
                    self.at(now + Duration::from_secs(5) * slot as u32, Step::Replace(slot));
                }
            }
            What::Scale(change) => self.scale(*change),
            What::DeleteQueue(wait) => {
                self.observer.disturb(None, "the queue is deleted");
                self.queue().delete();
                self.queue = None;
                self.excuse(now + *wait + REPAIR);
                if !plan.setting.provision {
                    self.at(now + *wait, Step::RestoreQueue);
                }
            }
            What::BreakPolicy => {
                self.excuse(now + fault.lasts + REPAIR);
                let queue = self.queue();
                let other = format!(
                    r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":"*","Action":"sqs:SendMessage","Resource":"{}","Condition":{{"ArnEquals":{{"aws:SourceArn":"arn:aws:sns:us-east-1:000000000000:other"}}}}}}]}}"#,
                    queue.arn()
                );
                self.queue = Some(queue.attribute("Policy", &other));
            }
            What::SetVisibility(seconds) => {
                let queue = self.queue().attribute("VisibilityTimeout", &seconds.to_string());
                self.queue = Some(queue);
            }
        }
    }

    fn end(&mut self, number: usize) {
        let fault = &self.plan.faults[number];
        self.observer.write("operator", format!("fault {number} is over"));
        match &fault.what {
            What::Network { .. } => self.image.network.end(number),
            What::Emulator(_) => self.image.network.take_back(number as u64),
            What::DependencyDown => self.image.down.store(false, Ordering::Relaxed),
            What::BreakPolicy if !self.plan.setting.provision => self.make_queue(),
            _ => {}
        }
    }

    fn scale(&mut self, change: i32) {
        for _ in 0..change.unsigned_abs() {
            if change > 0 {
                self.pods.push(None);
                self.crashed.push(0);
                self.start_pod(self.pods.len() - 1);
            } else if self.pods.iter().flatten().count() > 1
                && let Some(pod) = self.pods.iter_mut().rev().find_map(Option::take)
            {
                self.drains.spawn(pod.drain());
            }
        }
    }

    fn excuse(&mut self, until: Duration) {
        let ahead = self.observer.facts().suspended;
        self.excused_until = self.excused_until.max(until + ahead);
    }

    /// Health, as a probe sees it.
    fn look(&self) {
        let mut facts = self.observer.facts();
        let now = facts.now();
        let frozen = facts.disturbances.iter().rev().any(|d| d.what == "freeze" && d.at + LOOK >= now);
        for pod in self.pods.iter().flatten() {
            let stale = pod.pulses.stale();
            let name = pod.process.name();
            let stuck = facts.is_stuck(name);
            if frozen || !pod.process.is_alive() {
                // nobody looks
            } else if stuck == Some(false) && !stale.is_empty() {
                facts.violated(format!("{name} is DOWN: {}", stale.join(", ")));
            } else if stuck == Some(true) && stale.is_empty() {
                facts.violated(format!("{name} is UP, and its poller dies at every receive"));
            }
            if !stale.is_empty() {
                facts.reached.insert("DOWN while it is stuck");
            }
            for (condition, reason) in pod.readiness.reasons() {
                let state = match (&*condition, reason.split_once(' ').map_or("", |(word, _)| word)) {
                    ("handler", "unavailable") => "the breaker was open",
                    ("handler", "failing") => "intake was slowed",
                    ("topology", _) => "the queue was not there",
                    ("aws", _) => "AWS did not answer",
                    _ => continue,
                };
                facts.reached.insert(state);
            }
        }
        if let Some(shop) = &self.shop {
            let stale = shop.health.pulses.stale();
            if !stale.is_empty() && !frozen {
                facts.violated(format!("{} is DOWN: {}", shop.name(), stale.join(", ")));
            }
        }
    }

    fn is_settled(&mut self) -> bool {
        while self.drains.try_join_next().is_some() {}
        self.outbox.is_done() && self.drains.is_empty() && self.queue().is_empty()
    }

    async fn finish(mut self) {
        while self.drains.join_next().await.is_some() {}
        let settled = self.outbox.is_done() && self.queue().is_empty();
        if !settled {
            let left: Vec<_> = self.queue().messages().iter().filter_map(|m| Facts::id_of(&m.body)).collect();
            self.observer.violated(format!("it never settled: in the queue are {left:?}"));
        }
        let pods: Vec<_> = self.pods.iter_mut().filter_map(Option::take).collect();
        let calm_since = self.plan.setting.length.max(self.excused_until);
        for pod in &pods {
            let mut reasons = pod.readiness.reasons();
            // of its handler a pod knows what the last messages told it, and the others may have been quicker
            if !self.observer.facts().handled_since(pod.process.name(), calm_since) {
                reasons.retain(|(condition, _)| &**condition != "handler");
            }
            if !reasons.is_empty() && pod.process.is_alive() {
                let what =
                    format!("{} is not ready although all faults are over: {reasons:?}", pod.process.name());
                self.observer.violated(what);
            }
        }
        for pod in pods {
            self.drains.spawn(pod.drain());
        }
        while self.drains.join_next().await.is_some() {}
        if let Some(shop) = self.shop.take() {
            shop.close(Duration::from_secs(10)).await;
        }
        // what AWS still answers to those who are gone
        sleep(Duration::from_secs(60)).await;
        let left = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        if left > 0 {
            self.observer.violated(format!("{left} tasks are left behind"));
        }
        let letters = self.queue().dead_letters().into_iter();
        let dead: Dead =
            letters.filter_map(|letter| Some((letter.id, Facts::id_of(&letter.body)?))).collect();
        let mut facts = self.observer.facts();
        if !dead.is_empty() {
            facts.reached.insert("a dead letter");
        }
        let excused = self.excused_until;
        for publication in facts.publications.values_mut().filter(|p| p.offered < excused) {
            publication.excused = true;
        }
        facts.judge(&self.plan.setting, &dead);
        facts.ended = facts.now();
    }
}
