//! The network between the processes and the emulator, behind the SDK's HTTP connector.
//!
//! A call travels for the latency, has its effect in a task of its own, which goes on when its caller gives up, and its
//! response travels back. Faults in force throw their own dice for each call.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use fastrand::Rng;
use hyper::Response;
use hyper::body::Bytes;
use lifeline_emulator::{Emulator, Injected};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use crate::answer::{self, Answer, Pace};
use crate::handler::PANIC;
use crate::observer::{Disturbed, Observer};
use crate::plan::{Calls, Effect, Fault, What, dice};
use crate::process::Process;

/// How often of a thousand a server notices that its caller is gone before it answers.
const NOTICES: u32 = 500;

/// The network. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Network(Arc<Shared>);

struct Shared {
    emulator: SharedHttpClient,
    observer: Observer,
    latency: Duration,
    state: Mutex<State>,
}

struct State {
    dice: Rng,
    faults: Vec<Active>,
    /// The emulator's faults.
    injected: Vec<(u64, Injected)>,
}

struct Active {
    number: usize,
    of: Calls,
    pod: Option<usize>,
    effect: Effect,
    per_mille: u32,
    dice: Rng,
}

/// What happens to one call.
#[derive(Debug, Clone, Copy)]
struct Way {
    out: Duration,
    back: Duration,
    effect: Option<Effect>,
    /// The server stops when its caller does.
    notices: bool,
}

impl Network {
    pub(crate) fn new(emulator: &Emulator, observer: Observer, latency: Duration, seed: u64) -> Self {
        let state = State { dice: dice(seed, 3), faults: Vec::new(), injected: Vec::new() };
        Self(Arc::new(Shared {
            emulator: emulator.http_client(),
            observer,
            latency,
            state: Mutex::new(state),
        }))
    }

    /// The SDK's HTTP client for one process.
    pub(crate) fn client(&self, process: &Process) -> SharedHttpClient {
        SharedHttpClient::new(Client { network: self.clone(), process: process.clone() })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A fault of the plan is in force, if it is the network's.
    pub(crate) fn begin(&self, number: usize, fault: &Fault) {
        if let What::Network { of, pod, effect, per_mille } = fault.what {
            let dice = Rng::with_seed(fault.seed);
            self.state().faults.push(Active { number, of, pod, effect, per_mille, dice });
        }
    }

    pub(crate) fn end(&self, number: usize) {
        self.state().faults.retain(|fault| fault.number != number);
    }

    /// A fault of the emulator's is in force.
    pub(crate) fn injected(&self, number: u64, injected: Injected) {
        self.state().injected.push((number, injected));
    }

    /// Takes an injected fault back.
    pub(crate) fn take_back(&self, number: u64) {
        self.state()
            .injected
            .iter()
            .filter(|(of, _)| *of == number)
            .for_each(|(_, injected)| injected.remove());
    }

    /// How many calls the emulator's faults have met.
    fn met(&self) -> u64 {
        self.state().injected.iter().map(|(_, injected)| injected.hits()).sum()
    }

    /// Throws the dice for a call.
    fn way(&self, process: &Process, calls: Calls) -> Way {
        let mut state = self.state();
        let State { dice, faults, .. } = &mut *state;
        let latency = u64::try_from(self.0.latency.as_micros()).unwrap_or(u64::MAX);
        let mut travel = || Duration::from_micros(dice.u64(latency / 2..=latency * 3 / 2));
        let mut way = Way { out: travel(), back: travel(), effect: None, notices: false };
        way.notices = dice.u32(..1000) < NOTICES;
        for fault in faults {
            let of_it = fault.of == Calls::All || fault.of == calls;
            let his = fault.pod.is_none_or(|pod| process.slot() == Some(pod));
            if of_it && his && fault.dice.u32(..1000) < fault.per_mille {
                match fault.effect {
                    Effect::Late(late) => way.out += late,
                    Effect::LateResponse(late) => way.back += late,
                    effect => {
                        way.effect.get_or_insert(effect);
                        continue;
                    }
                }
                way.effect.get_or_insert(fault.effect);
            }
        }
        way
    }
}

/// The client of one process.
#[derive(Debug, Clone)]
struct Client {
    network: Network,
    process: Process,
}

#[derive(Debug)]
struct Connector {
    client: Client,
    emulator: SharedHttpConnector,
}

impl HttpClient for Client {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let emulator = self.network.0.emulator.http_connector(settings, components);
        SharedHttpConnector::new(Connector { client: self.clone(), emulator })
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (client, emulator) = (self.client.clone(), self.emulator.clone());
        HttpConnectorFuture::new(async move {
            let process = client.process.clone();
            process.while_alive(client.call(emulator, request)).await
        })
    }
}

/// A call as the network sees it.
struct Call {
    action: String,
    calls: Calls,
    sqs: bool,
    body: Bytes,
}

impl Call {
    fn of(request: &HttpRequest) -> Self {
        let body = Bytes::copy_from_slice(request.body().bytes().unwrap_or_default());
        let target = request.headers().get("x-amz-target").and_then(|target| target.rsplit('.').next());
        let sqs = target.is_some();
        let action = target.map(str::to_owned).unwrap_or_else(|| {
            let mut fields = form_urlencoded::parse(&body);
            let action = fields.find(|(name, _)| name == "Action");
            action.map(|(_, action)| action.into_owned()).unwrap_or_default()
        });
        let calls = match action.as_str() {
            "ReceiveMessage" => Calls::Receives,
            "DeleteMessageBatch" => Calls::Deletes,
            "ChangeMessageVisibilityBatch" => Calls::Leases,
            "PublishBatch" => Calls::Publishes,
            _ => Calls::Topology,
        };
        Self { action, calls, sqs, body }
    }

    /// Its parameters, where the observer reads them.
    fn parameters(&self) -> Value {
        match self.calls {
            Calls::Receives | Calls::Deletes | Calls::Leases => {
                serde_json::from_slice(&self.body).unwrap_or_default()
            }
            _ => Value::Null,
        }
    }
}

impl Client {
    async fn call(
        self,
        emulator: SharedHttpConnector,
        request: HttpRequest,
    ) -> Result<HttpResponse, ConnectorError> {
        let call = Call::of(&request);
        let who = Arc::clone(self.process.name());
        let observer = &self.network.0.observer;
        let parameters = call.parameters();
        {
            let mut facts = observer.facts();
            facts.called(&who);
            if call.calls == Calls::Deletes {
                facts.deletes(&who, &parameters);
            }
        }
        let way = self.network.way(&self.process, call.calls);
        if call.calls == Calls::Receives && way.effect != Some(Effect::Panic) {
            observer.facts().lived(&who);
        }
        let action = call.action.clone();
        let fault = way.effect.map(|effect| {
            observer.write(&who, format!("{action}: {effect:?}"));
            Disturbed::begin(observer, &who)
        });
        match way.effect {
            Some(Effect::LoseRequest) => return std::future::pending().await,
            Some(Effect::Refuse) => return Err(io(io::ErrorKind::ConnectionRefused)),
            Some(Effect::Panic) => {
                observer.facts().died(&who);
                std::panic::panic_any(PANIC)
            }
            _ => {}
        }
        let (sender, answer) = oneshot::channel();
        let served = Served { network: self.network.clone(), who: Arc::clone(&who), call, parameters };
        let server = tokio::spawn(async move {
            sender.send(served.answer(emulator, request, way).await).ok();
        });
        let _aborts = way.notices.then(|| AbortOnDropHandle::new(server));
        let mut waiting = Waiting { observer, who: &who, action: &action, done: false };
        let answer = answer.await;
        waiting.done = true;
        let (answer, made) = answer.unwrap_or_else(|_| Err(io(io::ErrorKind::ConnectionReset)))?;
        let pace = match way.effect {
            Some(Effect::LoseResponse) => return std::future::pending().await,
            Some(Effect::ResetAfter) => return Err(io(io::ErrorKind::ConnectionReset)),
            Some(Effect::Slow(rate)) => Pace::Slow(rate),
            Some(Effect::Stall) => Pace::Stall,
            Some(Effect::Truncate) => Pace::Truncate,
            _ => Pace::Whole,
        };
        let arrived = pace == Pace::Whole && !matches!(way.effect, Some(Effect::Page(..)));
        {
            let mut facts = observer.facts();
            if arrived {
                made.iter().for_each(|index| facts.deliveries[*index].arrived = true);
            }
            let status = answer.status().as_u16();
            if !(200..300).contains(&status) || !made.is_empty() {
                let ids: Vec<_> =
                    made.iter().map(|index| format!("#{}", facts.deliveries[*index].id)).collect();
                facts.write(&who, format!("{action}: {status} {}", ids.join(" ")));
            }
        }
        let response: Response<_> = answer::send(answer, pace, fault);
        HttpResponse::try_from(response).map_err(|error| ConnectorError::other(error.into(), None))
    }
}

/// A caller that waits for a response; one that stops waiting says so.
struct Waiting<'a> {
    observer: &'a Observer,
    who: &'a Arc<str>,
    action: &'a str,
    done: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.observer.write(self.who, format!("{}: gave up", self.action));
        }
    }
}

/// A call at AWS.
struct Served {
    network: Network,
    who: Arc<str>,
    call: Call,
    parameters: Value,
}

impl Served {
    async fn answer(
        self,
        emulator: SharedHttpConnector,
        mut request: HttpRequest,
        way: Way,
    ) -> Result<(Answer, Vec<usize>), ConnectorError> {
        sleep(way.out).await;
        let sqs = self.call.sqs;
        let instead = match way.effect {
            Some(Effect::Throttle) => {
                Some(answer::error(sqs, 400, if sqs { "RequestThrottled" } else { "Throttling" }))
            }
            Some(Effect::ServerError) => Some(answer::error(sqs, 500, "InternalError")),
            Some(Effect::Deny) => Some(answer::error(sqs, 403, "AccessDenied")),
            Some(Effect::Expired) => Some(answer::error(sqs, if sqs { 400 } else { 403 }, "ExpiredToken")),
            Some(Effect::Page(status, false)) => Some(answer::page(status)),
            _ => None,
        };
        if let Some(instead) = instead {
            sleep(way.back).await;
            return Ok((instead, Vec::new()));
        }
        if way.effect == Some(Effect::Forget)
            && let Some(shorter) = self.without_an_entry()
        {
            *request.body_mut() = SdkBody::from(shorter);
        }
        let before = self.network.met();
        let mut call = pin!(emulator.call(request));
        // the emulator decides for a call when it begins with it
        let begun = poll_fn(|context| Poll::Ready(call.as_mut().poll(context))).await;
        let met = self.network.met() != before;
        if met {
            let observer = &self.network.0.observer;
            observer.disturb(None, "emulator");
            observer.write("aws", format!("{} of {} meets a fault", self.call.action, self.who));
        }
        let response = match begun {
            Poll::Ready(response) => response?,
            Poll::Pending => call.await?,
        };
        let (mut answer, made) = self.had_effect(response, met)?;
        match way.effect {
            Some(Effect::Page(status, true)) => answer = answer::page(status),
            Some(Effect::Misname) if self.call.calls != Calls::Receives => {
                answer = answer::misname(answer.clone()).unwrap_or(answer);
            }
            _ => {}
        }
        sleep(way.back).await;
        Ok((answer, made))
    }

    /// The body of a batch of several entries without its first.
    fn without_an_entry(&self) -> Option<String> {
        let mut parameters = self.parameters.clone();
        let entries = parameters["Entries"].as_array_mut().filter(|entries| entries.len() > 1)?;
        entries.remove(0);
        Some(parameters.to_string())
    }

    /// The observer learns what the call did, whoever hears of it.
    fn had_effect(&self, response: HttpResponse, met: bool) -> Result<(Answer, Vec<usize>), ConnectorError> {
        let response =
            response.try_into_http1x().map_err(|error| ConnectorError::other(error.into(), None))?;
        let answer = response.map(|body| Bytes::copy_from_slice(body.bytes().unwrap_or_default()));
        let observer = &self.network.0.observer;
        let mut made = Vec::new();
        if answer.status().is_success() && self.parameters.is_object() {
            let read: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
            let mut facts = observer.facts();
            match self.call.calls {
                Calls::Receives => made = facts.received(&self.who, &self.parameters, &read, met),
                calls => facts.batch_landed(&self.parameters, &read, calls == Calls::Deletes),
            }
        }
        Ok((answer, made))
    }
}

fn io(kind: io::ErrorKind) -> ConnectorError {
    ConnectorError::io(io::Error::from(kind).into())
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").finish_non_exhaustive()
    }
}
