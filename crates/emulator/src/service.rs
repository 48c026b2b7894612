//! One call from request to response: which action it is, the faults it meets, its wait, its answer.

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use serde_json::Value;
use tokio::{sync::watch, time::Instant};

use crate::{
    action::Action,
    body::Pace,
    call::Call,
    clock::Clock,
    dispatch::dispatch,
    entries,
    error::{AwsError, Result, sns, sqs},
    fault::{Decision, Effect, Script},
    model::{queue::Queue, world::World},
    protocol::{self, Output},
    record::{self, Log, Outcome},
    request::{self, Parsed},
    sqs::receive,
    store::Store,
    sts::Keys,
};

/// The host of URLs for those who call in process.
const IN_PROCESS: &str = "http://emulator.localhost";
/// How long a send waits for memory before it is throttled: less than a client's timeout for one attempt.
const PATIENCE: Duration = Duration::from_secs(3);

/// The emulator behind both of its doors, the socket and the in-process client.
#[derive(Debug)]
pub(crate) struct Service {
    world: Mutex<World>,
    pub(crate) clock: Clock,
    pub(crate) script: Arc<Mutex<Script>>,
    log: Mutex<Log>,
    pub(crate) keys: Keys,
    store: Option<Store>,
    rules: Rules,
    mode: watch::Sender<Mode>,
    /// Changes after every call.
    version: watch::Sender<u64>,
    url: OnceLock<String>,
}

/// What the service keeps for itself of how it was set up.
#[derive(Debug, Clone, Copy)]
struct Rules {
    /// Keeps every call.
    journal: bool,
    /// A call has its effect though its client is gone.
    abandoned: bool,
}

/// Whether it can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Up,
    /// Requests are read and never answered.
    BlackHole,
    /// Connections are refused, and those that are open are reset.
    Down,
}

/// Which connection a request came by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Connection(pub(crate) u64);

/// Counts a call as unanswered until it is dropped, and writes down how it ended.
struct Ticket<'a> {
    service: &'a Service,
    action: Action,
    place: Option<usize>,
    outcome: Outcome,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.service.log().end(self.action, self.place, self.outcome);
        self.service.touch();
    }
}

/// A response, and how its bytes are sent.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) response: Response<Bytes>,
    pub(crate) pace: Pace,
}

/// The connection is to be reset instead of answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("connection reset by the emulator's fault")]
pub(crate) struct Reset;

impl Service {
    pub(crate) fn new(
        world: World,
        clock: Clock,
        script: Script,
        store: Option<Store>,
        abandoned: bool,
    ) -> Self {
        let rules = Rules { journal: world.rules.journal, abandoned };
        Self {
            world: Mutex::new(world),
            clock,
            script: Arc::new(Mutex::new(script)),
            log: Mutex::new(Log::new(rules.journal)),
            keys: Keys::default(),
            store,
            rules,
            mode: watch::Sender::new(Mode::Up),
            version: watch::Sender::new(0),
            url: OnceLock::new(),
        }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The beginning of URLs: the socket's, or a name for those who call in process.
    pub(crate) fn url(&self) -> &str {
        self.url.get().map_or(IN_PROCESS, String::as_str)
    }

    pub(crate) fn set_url(&self, url: String) {
        self.url.set(url).ok();
    }

    pub(crate) fn set_mode(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    pub(crate) fn mode(&self) -> watch::Receiver<Mode> {
        self.mode.subscribe()
    }

    /// Changes after every call.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Tells those who watch that something may have changed.
    pub(crate) fn touch(&self) {
        self.version.send_modify(|version| *version += 1);
    }

    /// Completes when `done` holds; it is asked after every call, and when time changes what the queue holds.
    pub(crate) async fn until(&self, queue: &str, mut done: impl FnMut() -> bool) {
        let mut changes = self.changes();
        while !done() {
            let next = self.world().queues.get(queue).and_then(Queue::next_event);
            let timer = async {
                match next {
                    Some(next) => tokio::time::sleep_until(self.clock.instant(next)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                changed = changes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = timer => {}
            }
        }
    }

    /// Answers one request.
    ///
    /// # Errors
    ///
    /// [`Reset`] when a fault says so.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future of a receive that waits takes no message, unless abandoned calls are to have their effect.
    pub(crate) async fn answer(
        self: &Arc<Self>,
        request: Request<Bytes>,
    ) -> std::result::Result<Reply, Reset> {
        let mode = *self.mode.borrow();
        match mode {
            Mode::Up => {}
            Mode::BlackHole => return std::future::pending().await,
            Mode::Down => return Err(Reset),
        }
        let connection = request.extensions().get().map_or(0, |Connection(number)| *number);
        let request_id = self.world().random.uuid();
        let parsed = match request::parse(request, self.clock.now()) {
            Ok(parsed) => parsed,
            Err(refused) => {
                let response =
                    protocol::refuse(refused.protocol, refused.service, &refused.error, &request_id);
                return Ok(Reply { response, pace: Pace::Whole });
            }
        };
        let (mut ticket, decision) = self.record(&parsed, connection);
        let reply = self.carry_out(parsed, decision, &request_id).await?;
        if !matches!(reply.pace, Pace::Stall | Pace::Truncate) {
            ticket.outcome = Outcome::Answered(reply.response.status().as_u16());
        }
        Ok(reply)
    }

    /// Writes a call down, and asks the faults about it.
    fn record(&self, parsed: &Parsed, connection: u64) -> (Ticket<'_>, Decision) {
        let action = parsed.action;
        let wanted = self.rules.journal || self.script().needs_calls();
        let asked = wanted.then(|| {
            let request = parsed.input.tree();
            (entries::all(&self.world(), &request), request)
        });
        let mut log = self.log();
        let concurrent = log.begin(action);
        let call = asked.map(|(entries, request)| record::Call {
            action,
            at: Instant::now(),
            concurrent,
            request,
            entries,
            access_key: parsed.call.access_key.clone(),
            connection,
            outcome: Outcome::Pending,
        });
        let decision = self.script().decide(action, call.as_ref());
        let place = call.and_then(|call| log.keep(call));
        drop(log);
        self.touch();
        (Ticket { service: self, action, place, outcome: Outcome::Broken }, decision)
    }

    async fn carry_out(
        self: &Arc<Self>,
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
            _ if self.rules.abandoned => {
                let (service, decision) = (Arc::clone(self), decision.clone());
                #[allow(
                    clippy::disallowed_methods,
                    reason = "an effect goes on when its caller has gone, as at AWS"
                )]
                let act = tokio::spawn(async move {
                    let result = service.act(parsed, &decision).await;
                    service.touch();
                    result
                });
                act.await
                    .unwrap_or_else(|error| Err(AwsError::new(500, "InternalFailure", error.to_string())))
            }
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
                let Some(failing) = entries::take_out(&self.world(), &mut parsed, &decision.entries)? else {
                    let status = if *sender { 400 } else { 500 };
                    return Err(AwsError::new(status, code.clone(), by_fault(code)));
                };
                if entries::is_empty(&parsed) {
                    let answer = serde_json::json!({"Successful": []});
                    return Ok(Output::Tree(entries::add_failed(answer, &failing, code, *sender)));
                }
                Some((failing, code, *sender))
            }
            _ => None,
        };
        let left_out = match effect {
            Some(Effect::LeaveOutEntries) if decision.after_effect => {
                Some(entries::matching(&self.world(), &mut parsed, &decision.entries)?)
            }
            Some(Effect::LeaveOutEntries) => {
                entries::take_out(&self.world(), &mut parsed, &decision.entries)?;
                if entries::is_empty(&parsed) {
                    return Ok(Output::Tree(serde_json::json!({"Successful": []})));
                }
                None
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

    /// Carries the action out as it is asked for, without faults.
    pub(crate) async fn once(&self, parsed: Parsed, tree: bool) -> Result<Output> {
        if parsed.action == Action::ReceiveMessage {
            return self.receive(parsed, tree).await;
        }
        let mut call = parsed.call;
        call.now = self.clock.now();
        let (result, saved) = {
            let mut world = self.world();
            world.topology_changed |= parsed.action.changes_topology();
            let result = dispatch(&mut world, &call, parsed.action, parsed.input, parsed.protocol, tree);
            (result, self.save(&mut world))
        };
        saved.await?;
        result
    }

    /// Completes when what has changed is in the file, if there is one.
    fn save(&self, world: &mut World) -> impl Future<Output = Result<()>> + use<> {
        let saved = self.store.as_ref().map(|store| store.save(world));
        async move {
            let Some(saved) = saved else { return Ok(()) };
            let failed = |error| AwsError::new(500, "InternalFailure", format!("not stored: {error}"));
            saved.await.map_err(failed)
        }
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
            let (received, next, saved) = {
                let mut world = self.world();
                let received = receive::take(&mut world, &call, &prepared)?;
                let saved = (!received.messages.is_empty()).then(|| self.save(&mut world));
                (received, world.next_event(&prepared.arn), saved)
            };
            if let Some(saved) = saved {
                saved.await?;
            }
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
            crate::action::Service::Sns | crate::action::Service::Sts => sns::throttled(text),
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
        Some(match effect {
            Effect::Hang => Self::Nothing,
            Effect::Reset => Self::Reset,
            Effect::Throttle => Self::Error(match action.service() {
                crate::action::Service::Sqs => sqs::throttled("Rate exceeded"),
                crate::action::Service::Sns | crate::action::Service::Sts => sns::throttled("Rate exceeded"),
            }),
            Effect::Error(status, code, message) => {
                Self::Error(AwsError::new(*status, code.clone(), message.clone()))
            }
            Effect::Status(status, body) => Self::Raw(*status, body.clone()),
            _ => return None,
        })
    }
}

fn by_fault(code: &str) -> String {
    format!("{code}, by the emulator's fault")
}
