//! The handler of the simulation: what it does with a message is decided by the seed and the message's number.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lifeline_consumer::{Context, Failure, Handler, Message};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, sleep};

use crate::observer::{End, Facts, Id, Observer};
use crate::plan::{Temper, dice};
use crate::process::Process;

/// What the panics of handlers say: they are planned, and need no trace on the screen.
pub(crate) const PANIC: &str = "a planned panic";

/// A handler in one pod.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) observer: Observer,
    pub(crate) process: Process,
    pub(crate) seed: u64,
    pub(crate) temper: Temper,
    /// How many messages the plan has: those after them are ordinary.
    pub(crate) planned: Id,
    /// Of a lease, in seconds.
    pub(crate) visibility: u64,
    pub(crate) handler_timeout: Duration,
    /// The most handlers at once.
    pub(crate) in_flight: usize,
    /// What it depends on does not answer.
    pub(crate) down: Arc<AtomicBool>,
    /// Told the pod's place when a message ends the process.
    pub(crate) crashes: UnboundedSender<usize>,
}

/// What a message does to its handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Character {
    Plain,
    Long,
    Fails(u32),
    Poison,
    Panics,
    Hangs,
    Aborts,
    Rejects,
}

impl Desk {
    fn character(&self, id: Id) -> Character {
        if id >= self.planned {
            return Character::Plain;
        }
        let mut dice = dice(self.seed ^ id, 4);
        let mut throw = dice.u32(..1000);
        let Temper { long, fails, poison, panics, hangs, aborts, rejects, .. } = self.temper;
        let of = [
            (long, Character::Long),
            (fails, Character::Fails(dice.u32(1..=2))),
            (poison, Character::Poison),
            (panics, Character::Panics),
            (hangs, Character::Hangs),
            (aborts, Character::Aborts),
            (rejects, Character::Rejects),
        ];
        for (share, character) in of {
            if throw < share {
                return character;
            }
            throw -= share;
        }
        Character::Plain
    }

    async fn work(
        &self,
        id: Id,
        attempt: u32,
        context: &Context,
        attempted: &mut Attempt<'_>,
    ) -> Result<(), Failure> {
        let mut dice = dice(self.seed ^ id, 5 + u64::from(attempt));
        let most = u64::try_from(self.temper.work.as_millis()).unwrap_or(u64::MAX);
        let time = Duration::from_millis(dice.u64(1..=most.max(1)));
        let obedient = dice.bool();
        if self.down.load(Ordering::Relaxed) {
            sleep(time.min(Duration::from_secs(1))).await;
            attempted.end(End::Unavailable);
            self.observer.reach("unavailable");
            return Err(Failure::unavailable("the database does not answer"));
        }
        let character = self.character(id);
        match character {
            Character::Long => {
                let lease = Duration::from_secs(self.visibility);
                let time = (lease * dice.u32(1..=3)).min(self.handler_timeout * 9 / 10);
                tokio::select! {
                    biased;
                    why = context.cancelled(), if obedient => {
                        attempted.end(End::Cut);
                        return Err(Failure::new(format!("it was told to stop: {why:?}")));
                    }
                    () = sleep(time) => {}
                }
            }
            Character::Hangs if attempt == 1 => std::future::pending().await,
            _ => sleep(time).await,
        }
        match character {
            Character::Fails(times) if attempt <= times => Err(Failure::failed("as planned")),
            Character::Rejects => {
                attempted.end(End::Rejected);
                self.observer.reach("a message was rejected");
                Err(Failure::rejected("it is not what was ordered"))
            }
            Character::Poison => Err(Failure::failed("it will never work")),
            Character::Panics if attempt == 1 => {
                attempted.end(End::Failed);
                std::panic::panic_any(PANIC)
            }
            Character::Aborts => {
                attempted.end(End::Failed);
                self.observer.disturb(Some(self.process.name()), "abort");
                self.observer.write(self.process.name(), format!("#{id} ends the process"));
                self.observer.reach("a message ended its process");
                self.process.end();
                if let Some(slot) = self.process.slot() {
                    self.crashes.send(slot).ok();
                }
                std::future::pending().await
            }
            _ => Ok(()),
        }
    }
}

impl Handler for Desk {
    async fn handle(&self, message: Message, context: Context) -> Result<(), Failure> {
        let id = Facts::id_of(&message.body);
        let handled = async {
            let begun = {
                let mut facts = self.observer.facts();
                let begun = facts.begun(self.process.name(), &message.sqs_message_id, message.receive_count);
                id.zip(begun).map(|(id, index)| (id, index, facts.attempts(id)))
            };
            let at_work = self.observer.facts().at_work.get(self.process.name()).copied().unwrap_or_default();
            if at_work > self.in_flight {
                let what = format!(
                    "{} handles {at_work} messages at once, not {}",
                    self.process.name(),
                    self.in_flight
                );
                self.observer.violated(what);
            }
            let Some((id, index, attempt)) = begun else {
                let what = format!("{} handles what it was not given: {}", self.process.name(), message.id);
                self.observer.violated(what);
                return Ok(());
            };
            let mut attempted = Attempt { desk: self, index, since: Instant::now(), ended: false };
            let result = self.work(id, attempt, &context, &mut attempted).await;
            attempted.end(if result.is_ok() { End::Handled } else { End::Failed });
            result
        };
        self.process.while_alive(handled).await
    }
}

/// One run of the handler; one that is dropped was cut off, or had its time.
struct Attempt<'a> {
    desk: &'a Desk,
    index: usize,
    since: Instant,
    ended: bool,
}

impl Attempt<'_> {
    fn end(&mut self, end: End) {
        if !std::mem::replace(&mut self.ended, true) {
            self.desk.observer.facts().ended(self.index, end);
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let timed_out = self.since.elapsed() >= self.desk.handler_timeout;
        self.end(if timed_out { End::Failed } else { End::Cut });
    }
}
