//! The consumer: pollers take room and receive, handlers run, deletes go in batches and give the room back.
//!
//! It follows `crates/consumer/src`: `poller` (room, its linger, receives), `crew` (who polls), `job` (a handler each),
//! `batch` and `deletes`. Nothing fails here, and leases are longer than handlers.

use std::collections::VecDeque;
use std::time::Duration;

use super::agenda::Agenda;
use super::pool::Pool;
use super::processor::Processor;
use super::room::Room;
use super::{Course, Place, Time, nanos, timer};
use crate::rules::{BATCH, DELETE_LINGER, IN_TURN, ROOM_LINGER};

/// A consumer's settings and handler.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Pod {
    pub(crate) pollers: usize,
    pub(crate) max_in_flight: usize,
    pub(crate) handler: Duration,
}

/// What there is to do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Load {
    /// So many messages wait; done when they are deleted.
    Backlog(u64),
    /// So many come, at random, so many a second.
    Arrivals { messages: u64, rate: f64, seed: u64 },
}

/// What came out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Drained {
    pub(crate) course: Course,
    pub(crate) receives: u64,
    pub(crate) deletes: u64,
    pub(crate) messages: u64,
    pub(crate) connections: usize,
    /// Most pollers at work.
    pub(crate) crew: usize,
    /// From a message's arrival to the start of its handler, sorted; of arrivals alone.
    pub(crate) waits: Vec<Time>,
}

impl Drained {
    pub(crate) fn calls_per_message(&self) -> f64 {
        (self.receives + self.deletes) as f64 / self.messages.max(1) as f64
    }

    /// Of the waits; `share` of them are at most this.
    pub(crate) fn wait(&self, share: f64) -> Duration {
        let last = self.waits.len().saturating_sub(1);
        Duration::from_nanos(self.waits.get((last as f64 * share).round() as usize).copied().unwrap_or(0))
    }
}

/// Simulates it to the end.
pub(crate) fn run(pod: Pod, place: Place, load: Load) -> Drained {
    let mut run = Run::new(pod, place, load);
    run.begin(load);
    while let Some(event) = run.agenda.next() {
        run.happen(event);
        if run.out.messages == run.expected {
            break;
        }
    }
    run.out.connections = run.polls.made + run.others.made;
    run.out.waits.sort_unstable();
    run.out
}

enum Event {
    Arrive,
    Turn { poller: usize },
    RoomLingered { poller: usize, turn: u64 },
    PollConnected,
    ReceiveArrives { poller: usize },
    ReceiveBack { poller: usize, arrivals: Vec<Time> },
    Received { poller: usize, arrivals: Vec<Time> },
    Handled { messages: usize },
    FlushDeletes { batch: u64 },
    Connected,
    DeleteSent { call: usize },
    DeleteBack { call: usize },
    Deleted { messages: usize },
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Doing {
    Home,
    /// Waits for its turn to gather room.
    Turn,
    /// Waits for its first permit.
    First,
    /// Has one and waits for the rest.
    Linger,
    /// A receive for so many is in the air.
    Air(usize),
}

struct Run {
    agenda: Agenda<Event>,
    pod: Pod,
    place: Place,
    out: Drained,
    expected: u64,
    // the queue
    waiting: VecDeque<Time>,
    backlog: u64,
    to_come: u64,
    rate: f64,
    random: fastrand::Rng,
    polling: VecDeque<usize>,
    // the pollers
    doing: Vec<Doing>,
    turns: Vec<u64>,
    wanted: usize,
    room: Room,
    gathering: Option<usize>,
    line: VecDeque<usize>,
    polls: Pool,
    // the deletes
    inbox: usize,
    batch: u64,
    lingering: bool,
    others: Pool,
    calls: Vec<usize>,
    processor: Processor,
}

impl Run {
    fn new(pod: Pod, place: Place, load: Load) -> Self {
        let (backlog, to_come, rate, seed) = match load {
            Load::Backlog(messages) => (messages, 0, 1.0, 0),
            Load::Arrivals { messages, rate, seed } => (0, messages, rate, seed),
        };
        Self {
            agenda: Agenda::new(),
            pod,
            place,
            out: Drained::default(),
            expected: backlog + to_come,
            waiting: VecDeque::new(),
            backlog,
            to_come,
            rate,
            random: fastrand::Rng::with_seed(seed),
            polling: VecDeque::new(),
            doing: vec![Doing::Home; pod.pollers],
            turns: vec![0; pod.pollers],
            wanted: 1,
            room: Room::new(pod.max_in_flight),
            gathering: None,
            line: VecDeque::new(),
            polls: Pool::default(),
            inbox: 0,
            batch: 0,
            lingering: false,
            others: Pool::default(),
            calls: Vec::new(),
            processor: Processor::new(place.cores),
        }
    }

    fn begin(&mut self, load: Load) {
        if matches!(load, Load::Arrivals { .. }) {
            self.agenda.at(0, Event::Arrive);
        }
        self.poll(0);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive => self.arrive(),
            Event::Turn { poller } => self.gather(poller),
            Event::RoomLingered { poller, turn } => self.room_lingered(poller, turn),
            Event::PollConnected => {
                if let Some(poller) = self.polls.free() {
                    self.send_receive(poller);
                }
            }
            Event::ReceiveArrives { poller } => self.receive_arrives(poller),
            Event::ReceiveBack { poller, arrivals } => self.receive_back(poller, arrivals),
            Event::Received { poller, arrivals } => self.received(poller, &arrivals),
            Event::Handled { messages } => self.handled(messages),
            Event::FlushDeletes { batch } => {
                if self.lingering && self.batch == batch {
                    self.send_deletes();
                }
            }
            Event::Connected => {
                if let Some(call) = self.others.free() {
                    self.send_delete(call);
                }
            }
            Event::DeleteSent { call } => {
                if self.others.take(call) {
                    self.send_delete(call);
                } else {
                    self.agenda.at(self.agenda.now + nanos(self.place.setup()), Event::Connected);
                }
            }
            Event::DeleteBack { call } => {
                if let Some(next) = self.others.free() {
                    self.send_delete(next);
                }
                let messages = self.calls[call];
                let done = self.processor.work(self.agenda.now, self.cost(messages) / 4);
                self.agenda.at(done, Event::Deleted { messages });
            }
            Event::Deleted { messages } => {
                self.out.messages += messages as u64;
                self.out.course.note(self.agenda.now, self.out.messages);
                let served = self.room.give(messages);
                self.served(served);
            }
        }
    }

    fn cost(&self, messages: usize) -> Time {
        nanos(self.place.message_cost) * messages as u64
    }

    // The queue: what arrives is there for the receive that waits, or for the next.

    fn arrive(&mut self) {
        self.to_come -= 1;
        self.waiting.push_back(self.agenda.now);
        if let Some(poller) = self.polling.pop_front() {
            self.answer(poller);
        }
        if self.to_come > 0 {
            let gap = -(1.0 - self.random.f64()).ln() / self.rate;
            self.agenda.at(self.agenda.now + (gap * 1e9) as Time, Event::Arrive);
        }
    }

    fn receive_arrives(&mut self, poller: usize) {
        if self.backlog == 0 && self.waiting.is_empty() {
            // a long poll; no drain is so slow that its end would be seen
            return self.polling.push_back(poller);
        }
        self.answer(poller);
    }

    fn answer(&mut self, poller: usize) {
        let Doing::Air(asked) = self.doing[poller] else { return };
        let old = self.backlog.min(asked as u64);
        self.backlog -= old;
        let new = self.waiting.len().min(asked - old as usize);
        let arrivals = (0..old).map(|_| 0).chain(self.waiting.drain(..new)).collect();
        let back = self.agenda.now + nanos(self.place.service) + nanos(self.place.round_trip / 2);
        self.agenda.at(back, Event::ReceiveBack { poller, arrivals });
    }

    // A poller: room for one, then for ten if that is soon, then the receive.

    fn poll(&mut self, poller: usize) {
        if poller >= self.wanted {
            self.doing[poller] = Doing::Home;
            return;
        }
        if IN_TURN {
            self.doing[poller] = Doing::Turn;
            if self.gathering.is_some() {
                return self.line.push_back(poller);
            }
            self.gathering = Some(poller);
        }
        self.gather(poller);
    }

    fn gather(&mut self, poller: usize) {
        self.doing[poller] = Doing::First;
        if self.room.take(poller, 1) {
            self.has_first(poller);
        }
    }

    fn rest(&self) -> usize {
        BATCH.min(self.pod.max_in_flight) - 1
    }

    fn has_first(&mut self, poller: usize) {
        self.doing[poller] = Doing::Linger;
        self.turns[poller] += 1;
        if self.room.take(poller, self.rest()) {
            return self.receive(poller, 1 + self.rest());
        }
        let lingered = timer(self.agenda.now + nanos(ROOM_LINGER));
        self.agenda.at(lingered, Event::RoomLingered { poller, turn: self.turns[poller] });
    }

    fn served(&mut self, pollers: Vec<usize>) {
        for poller in pollers {
            match self.doing[poller] {
                Doing::First => self.has_first(poller),
                _ => self.receive(poller, 1 + self.rest()),
            }
        }
    }

    fn room_lingered(&mut self, poller: usize, turn: u64) {
        if self.doing[poller] != Doing::Linger || self.turns[poller] != turn {
            return;
        }
        let served = self.room.leave(poller);
        self.served(served);
        let more = self.rest().min(self.room.free());
        self.room.try_take(more);
        self.receive(poller, 1 + more);
    }

    fn receive(&mut self, poller: usize, asked: usize) {
        self.doing[poller] = Doing::Air(asked);
        if self.gathering == Some(poller) {
            self.gathering = self.line.pop_front();
            if let Some(next) = self.gathering {
                self.agenda.at(self.agenda.now, Event::Turn { poller: next });
            }
        }
        self.out.receives += 1;
        if self.polls.take(poller) {
            self.send_receive(poller);
        } else {
            self.agenda.at(self.agenda.now + nanos(self.place.setup()), Event::PollConnected);
        }
    }

    fn send_receive(&mut self, poller: usize) {
        self.agenda.at(self.agenda.now + nanos(self.place.round_trip / 2), Event::ReceiveArrives { poller });
    }

    fn receive_back(&mut self, poller: usize, arrivals: Vec<Time>) {
        if let Some(next) = self.polls.free() {
            self.send_receive(next);
        }
        let done = self.processor.work(self.agenda.now, self.cost(arrivals.len()) / 2);
        self.agenda.at(done, Event::Received { poller, arrivals });
    }

    fn received(&mut self, poller: usize, arrivals: &[Time]) {
        let Doing::Air(asked) = self.doing[poller] else { return };
        let messages = arrivals.len();
        self.out.waits.extend(arrivals.iter().map(|at| self.agenda.now - at));
        if messages >= asked.min(BATCH) {
            self.call_in(poller + 2);
        }
        let handled = self.agenda.now + nanos(self.pod.handler);
        // tokio's timer, if the handler sleeps at all
        let handled = if self.pod.handler.is_zero() { handled } else { timer(handled) };
        self.agenda.at(handled, Event::Handled { messages });
        let served = self.room.give(asked - messages);
        self.served(served);
        self.poll(poller);
    }

    /// The crew grows to `many` at least.
    fn call_in(&mut self, many: usize) {
        let many = many.min(self.pod.pollers);
        if many <= self.wanted {
            return;
        }
        let called = self.wanted..many;
        self.wanted = many;
        self.out.crew = many;
        for poller in called {
            if self.doing[poller] == Doing::Home {
                self.poll(poller);
            }
        }
    }

    // Deletes: ten at once, or what there is when the first has lingered.

    fn handled(&mut self, messages: usize) {
        self.inbox += messages;
        while self.inbox >= BATCH {
            self.send_deletes();
        }
        if self.inbox > 0 && !self.lingering {
            self.lingering = true;
            let flush = timer(self.agenda.now + nanos(DELETE_LINGER));
            self.agenda.at(flush, Event::FlushDeletes { batch: self.batch });
        }
    }

    fn send_deletes(&mut self) {
        let messages = self.inbox.min(BATCH);
        self.inbox -= messages;
        self.batch += 1;
        self.lingering = false;
        self.out.deletes += 1;
        self.calls.push(messages);
        let call = self.calls.len() - 1;
        let sent = self.processor.work(self.agenda.now, self.cost(messages) / 4);
        self.agenda.at(sent, Event::DeleteSent { call });
    }

    fn send_delete(&mut self, call: usize) {
        self.agenda.at(self.agenda.now + nanos(self.place.call()), Event::DeleteBack { call });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model;

    fn far(round_trip: u64) -> Place {
        Place {
            round_trip: Duration::from_millis(round_trip),
            setup_trips: 1,
            service: Duration::from_millis(1),
            message_cost: Duration::from_micros(20),
            cores: 2,
        }
    }

    #[test]
    fn a_drain_comes_near_to_the_formulas_and_never_past_them() {
        for (pollers, max_in_flight, handler) in [(4, 64, 0), (16, 500, 0), (64, 2000, 0), (16, 500, 100)] {
            for round_trip in [20, 80] {
                let pod = Pod { pollers, max_in_flight, handler: Duration::from_millis(handler) };
                let model = model::drain(&pod, &far(round_trip)).messages;
                let drained = run(pod, far(round_trip), Load::Backlog((model * 20.0) as u64));
                let share = drained.course.steady_rate() / model;
                assert!((0.85..1.03).contains(&share), "{pod:?} at {round_trip} ms: {share}");
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_run_and_every_message_is_deleted() {
        let pod = Pod { pollers: 4, max_in_flight: 64, handler: Duration::from_millis(5) };
        let load = Load::Arrivals { messages: 5000, rate: 500.0, seed: 7 };
        let [one, other] = [(); 2].map(|()| run(pod, far(20), load));
        assert_eq!((one.messages, one.waits.len()), (5000, 5000));
        assert_eq!((one.receives, one.deletes, one.waits), (other.receives, other.deletes, other.waits));
    }
}
