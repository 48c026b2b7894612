//! One call from request to response: which action it is, the faults it meets, its wait, its answer.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use serde_json::Value;
use tokio::sync::watch;

use crate::{
    action::Action,
    call::Call,
    clock::Clock,
    control,
    dispatch::dispatch,
    entries,
    error::{AwsError, Result, sns, sqs},
    fault::{Decision, Effect, Script},
    model::world::World,
    protocol::{self, Output, Protocol},
    request::{self, Parsed},
    sqs::receive,
};

/// How long a send waits for memory before it is throttled: less than a client's timeout for one attempt.
const PATIENCE: Duration = Duration::from_secs(3);

/// The emulator behind both of its doors, the socket and the in-process client.
#[derive(Debug)]
pub(crate) struct Service {
    world: Mutex<World>,
    pub(crate) clock: Clock,
    pub(crate) script: Arc<Mutex<Script>>,
    calls: Vec<AtomicU64>,
    /// Changes after every call.
    version: watch::Sender<u64>,
}

/// A response, and how its bytes are sent.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) response: Response<Bytes>,
    pub(crate) pace: Pace,
}

/// How a response's body is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    Whole,
    /// Half, then nothing.
    Stall,
    /// Half, then the end of the connection.
    Truncate,
    /// Bytes per second.
    Slow(u64),
}

/// The connection is to be reset instead of answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("connection reset by the emulator's fault")]
pub(crate) struct Reset;

impl Service {
    pub(crate) fn new(world: World, clock: Clock, script: Script) -> Self {
        Self {
            world: Mutex::new(world),
            clock,
            script: Arc::new(Mutex::new(script)),
            calls: Action::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
            version: watch::Sender::new(0),
        }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn calls(&self, action: Action) -> u64 {
        self.calls[action as usize].load(Ordering::Relaxed)
    }

    /// Changes after every call.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Tells those who watch that something may have changed.
    pub(crate) fn touch(&self) {
        self.version.send_modify(|version| *version += 1);
    }

    /// Answers one request.
    ///
    /// # Errors
    ///
    /// [`Reset`] when a fault says so.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future of a receive that waits takes no message.
    pub(crate) async fn answer(&self, request: Request<Bytes>) -> std::result::Result<Reply, Reset> {
        let whole = |response| Reply { response, pace: Pace::Whole };
        if let Some(response) = control::answer(self, &request) {
            return Ok(whole(response));
        }
        let request_id = self.world().random.uuid();
        let parsed = match request::parse(request, self.clock.now()) {
            Ok(parsed) => parsed,
            Err(refused) => {
                return Ok(whole(protocol::refuse(
                    refused.protocol,
                    refused.service,
                    &refused.error,
                    &request_id,
                )));
            }
        };
        self.calls[parsed.action as usize].fetch_add(1, Ordering::Relaxed);
        let decision = self.script().decide(parsed.action);
        self.carry_out(parsed, decision, &request_id).await
    }

    async fn carry_out(
        &self,
        parsed: Parsed,
        decision: Decision,
        request_id: &str,
    ) -> std::result::Result<Reply, Reset> {
        if !decision.delay.is_zero() {
            tokio::time::sleep(decision.delay).await;
        }
        let (protocol, action) = (parsed.protocol, parsed.action);
        let instead = decision.effect.as_ref().and_then(|effect| Instead::of(effect, action));
        let result = match (&instead, decision.after_effect) {
            // The call has no effect, and no answer of its own.
            (Some(_), false) => Err(AwsError::new(500, "InternalFailure", "")),
            _ => self.act(parsed, &decision).await,
        };
        self.touch();
        match instead {
            Some(Instead::Nothing) => std::future::pending().await,
            Some(Instead::Reset) => Err(Reset),
            Some(Instead::Error(error)) => {
                let response = protocol::refuse(protocol, action.service(), &error, request_id);
                Ok(Reply { response, pace: Pace::Whole })
            }
            Some(Instead::Raw(status, body)) => {
                let mut response = Response::new(Bytes::from(body));
                *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
                Ok(Reply { response, pace: Pace::Whole })
            }
            None => {
                let response = protocol::respond(protocol, action, result, request_id);
                let pace = match decision.effect {
                    Some(Effect::Stall) => Pace::Stall,
                    Some(Effect::Truncate) => Pace::Truncate,
                    _ => decision.bandwidth.map_or(Pace::Whole, Pace::Slow),
                };
                Ok(Reply { response, pace })
            }
        }
    }

    /// Carries the action out, with the faults that change its entries.
    async fn act(&self, mut parsed: Parsed, decision: &Decision) -> Result<Output> {
        if matches!(
            parsed.action,
            Action::SendMessage | Action::SendMessageBatch | Action::Publish | Action::PublishBatch
        ) {
            self.room(parsed.action).await?;
        }
        let effect = decision.effect.as_ref();
        let failing = match effect {
            Some(Effect::FailEntries(code, sender)) => {
                let failing = entries::take_out(&self.world(), &mut parsed, &decision.entries)?;
                if entries::is_empty(&parsed) {
                    let answer = serde_json::json!({"Successful": []});
                    return Ok(Output::Tree(entries::add_failed(answer, &failing, code, *sender)));
                }
                Some((failing, code, *sender))
            }
            _ => None,
        };
        let left_out = match effect {
            Some(Effect::LeaveOutEntries) => {
                Some(entries::matching(&self.world(), &mut parsed, &decision.entries)?)
            }
            _ => None,
        };
        let changes = matches!(
            effect,
            Some(
                Effect::LeaveOutEntries | Effect::FailEntries(..) | Effect::Duplicate | Effect::LoseLease(_)
            )
        );
        let twice = matches!(effect, Some(Effect::Duplicate)) && parsed.action != Action::ReceiveMessage;
        if twice {
            self.once(parsed.clone(), false).await?;
        }
        let output = self.once(parsed, changes).await?;
        let Output::Tree(mut tree) = output else { return Ok(output) };
        if let Some((failing, code, sender)) = failing {
            tree = entries::add_failed(tree, &failing, code, sender);
        }
        if let Some(left_out) = left_out {
            entries::leave_out(&mut tree, &left_out);
        }
        match effect {
            Some(Effect::Duplicate) => entries::duplicate(&mut self.world(), &mut tree),
            Some(Effect::LoseLease(lease)) => self.lose(&tree, *lease),
            _ => {}
        }
        Ok(Output::Tree(tree))
    }

    fn lose(&self, tree: &Value, lease: Duration) {
        let now = self.clock.now();
        entries::take_away(&mut self.world(), tree, lease.as_secs(), now);
    }

    async fn once(&self, parsed: Parsed, tree: bool) -> Result<Output> {
        if parsed.action == Action::ReceiveMessage {
            return self.receive(parsed, tree).await;
        }
        let mut call = parsed.call;
        call.now = self.clock.now();
        dispatch(&mut self.world(), &call, parsed.action, parsed.input, parsed.protocol, tree)
    }

    /// Receives, and waits for a message as long as the call says.
    async fn receive(&self, parsed: Parsed, tree: bool) -> Result<Output> {
        let mut call: Call = parsed.call;
        call.now = self.clock.now();
        let (prepared, arrival) = {
            let mut world = self.world();
            let prepared = receive::prepare(&mut world, &call, parsed.input.read()?)?;
            let arrival = Arc::clone(&world.queue(&prepared.arn)?.arrival);
            (prepared, arrival)
        };
        let deadline = call.now.plus_seconds(prepared.wait);
        loop {
            let arrived = arrival.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            call.now = self.clock.now();
            let (received, next) = {
                let mut world = self.world();
                (receive::take(&mut world, &call, &prepared)?, world.next_event(&prepared.arn))
            };
            if !received.messages.is_empty() || call.now >= deadline {
                return Output::write(parsed.protocol, tree, &received);
            }
            let until = next.map_or(deadline, |next| next.min(deadline));
            tokio::select! {
                biased;
                () = arrived => {}
                () = tokio::time::sleep_until(self.clock.instant(until)) => {}
            }
        }
    }

    /// Waits until there is memory for another message.
    async fn room(&self, action: Action) -> Result<()> {
        let Some(limit) = self.world().rules.memory else { return Ok(()) };
        let mut changes = self.changes();
        let room = async {
            while self.world().bytes() >= limit {
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        if tokio::time::timeout(PATIENCE, room).await.is_ok() {
            return Ok(());
        }
        let text = format!(
            "the emulator holds {limit} bytes of messages, its limit; receive and delete some, or raise the limit"
        );
        Err(match action.service() {
            crate::action::Service::Sqs => sqs::throttled(text),
            crate::action::Service::Sns => sns::throttled(text),
        })
    }
}

/// What a call is answered instead of its own answer.
enum Instead {
    Nothing,
    Reset,
    Error(AwsError),
    Raw(u16, String),
}

impl Instead {
    fn of(effect: &Effect, action: Action) -> Option<Self> {
        let by_fault = |code: &str| format!("{code}, by the emulator's fault");
        Some(match effect {
            Effect::Hang => Self::Nothing,
            Effect::Reset => Self::Reset,
            Effect::Throttle => Self::Error(match action.service() {
                crate::action::Service::Sqs => sqs::throttled("Rate exceeded"),
                crate::action::Service::Sns => sns::throttled("Rate exceeded"),
            }),
            Effect::Error(status, code) => Self::Error(AwsError::new(*status, code.clone(), by_fault(code))),
            Effect::Status(status, body) => Self::Raw(*status, body.clone()),
            _ => return None,
        })
    }
}

/// For requests whose protocol is not known.
pub(crate) const FALLBACK: Protocol = Protocol::Query;
