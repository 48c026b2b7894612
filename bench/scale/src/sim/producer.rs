//! The producer: messages fill batches, a window of batches is in the air.
//!
//! It follows `crates/producer/src`: `queue` (when a batch may go), `batcher` (how many are in the air) and `window`
//! (additive growth; nothing is throttled here).

use std::collections::VecDeque;

use super::agenda::Agenda;
use super::pool::Pool;
use super::processor::Processor;
use super::{Course, Place, Time, nanos, timer};
use crate::rules::{AIR_BYTES, BATCH, BATCH_BYTES, FIRST_WINDOW, IN_AIR, PUBLISH_LINGER};

/// What is published.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Input {
    pub(crate) messages: u64,
    pub(crate) bytes: usize,
    /// Messages a second; `None` is as fast as they are taken.
    pub(crate) rate: Option<f64>,
}

/// What came out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Published {
    pub(crate) course: Course,
    pub(crate) calls: u64,
    pub(crate) messages: u64,
    pub(crate) connections: usize,
}

/// Simulates it to the end.
pub(crate) fn run(input: Input, place: Place) -> Published {
    let mut run = Run {
        agenda: Agenda::new(),
        input,
        place,
        out: Published::default(),
        to_come: input.messages,
        ready: VecDeque::new(),
        window: FIRST_WINDOW.min(IN_AIR as f64),
        air: 0,
        air_bytes: 0,
        calls: Vec::new(),
        pool: Pool::default(),
        processor: Processor::new(place.cores),
    };
    run.agenda.at(0, Event::Arrive);
    while let Some(event) = run.agenda.next() {
        run.happen(event);
    }
    run.out.connections = run.pool.made;
    run.out
}

enum Event {
    Arrive,
    Lingered,
    Sent { call: usize },
    Connected,
    Back { call: usize },
    Landed { call: usize },
}

struct Run {
    agenda: Agenda<Event>,
    input: Input,
    place: Place,
    out: Published,
    to_come: u64,
    ready: VecDeque<Time>,
    window: f64,
    air: usize,
    air_bytes: usize,
    calls: Vec<usize>,
    pool: Pool,
    processor: Processor,
}

impl Run {
    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive => self.arrive(),
            Event::Lingered => {}
            Event::Sent { call } => {
                if self.pool.take(call) {
                    self.send(call);
                } else {
                    self.agenda.at(self.agenda.now + nanos(self.place.setup()), Event::Connected);
                }
            }
            Event::Connected => {
                if let Some(call) = self.pool.free() {
                    self.send(call);
                }
            }
            Event::Back { call } => {
                if let Some(next) = self.pool.free() {
                    self.send(next);
                }
                let done = self.processor.work(self.agenda.now, self.cost(self.calls[call]) / 2);
                self.agenda.at(done, Event::Landed { call });
            }
            Event::Landed { call } => self.landed(call),
        }
        self.launch();
    }

    fn cost(&self, messages: usize) -> Time {
        nanos(self.place.message_cost) * messages as u64
    }

    fn arrive(&mut self) {
        let Some(rate) = self.input.rate else {
            // the buffer is larger than what fits into the air: it is never empty before the end
            self.ready.extend((0..self.to_come).map(|_| 0));
            self.to_come = 0;
            return;
        };
        self.to_come -= 1;
        self.ready.push_back(self.agenda.now);
        self.agenda.at(timer(self.agenda.now + nanos(PUBLISH_LINGER)), Event::Lingered);
        if self.to_come > 0 {
            self.agenda.at(self.agenda.now + (1e9 / rate) as Time, Event::Arrive);
        }
    }

    fn launch(&mut self) {
        loop {
            let full = self.ready.len() >= BATCH || self.ready.len() * self.input.bytes >= BATCH_BYTES;
            let over = self.to_come == 0;
            let lingered = |since: &Time| self.agenda.now >= since + nanos(PUBLISH_LINGER);
            let due = full || self.ready.front().is_some_and(|since| over || lingered(since));
            let fits = self.air < self.window as usize && (self.air == 0 || self.air_bytes < AIR_BYTES);
            if !due || !fits {
                return;
            }
            let messages = self.ready.len().min(batch(self.input.bytes));
            self.ready.drain(..messages);
            self.air += 1;
            self.air_bytes += messages * self.input.bytes;
            self.out.calls += 1;
            self.calls.push(messages);
            let call = self.calls.len() - 1;
            let sent = self.processor.work(self.agenda.now, self.cost(messages) / 2);
            self.agenda.at(sent, Event::Sent { call });
        }
    }

    fn send(&mut self, call: usize) {
        self.agenda.at(self.agenda.now + nanos(self.place.call()), Event::Back { call });
    }

    fn landed(&mut self, call: usize) {
        let messages = self.calls[call];
        self.air -= 1;
        self.air_bytes -= messages * self.input.bytes;
        self.window = (self.window + 1.0 / self.window).min(IN_AIR as f64);
        self.out.messages += messages as u64;
        self.out.course.note(self.agenda.now, self.out.messages);
    }
}

/// Messages of this size in one publish.
pub(crate) fn batch(bytes: usize) -> usize {
    (BATCH_BYTES / bytes.max(1)).clamp(1, BATCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model;
    use std::time::Duration;

    const FAR: Place = Place {
        round_trip: Duration::from_millis(80),
        setup_trips: 1,
        service: Duration::from_millis(1),
        message_cost: Duration::from_micros(20),
        cores: 2,
    };

    #[test]
    fn as_fast_as_it_goes_is_as_fast_as_the_formulas_say() {
        for bytes in [200, 10_000, 100_000, 200_000] {
            let model = model::publish(bytes, &FAR).messages;
            let input = Input { messages: (model * 20.0) as u64, bytes, rate: None };
            let published = run(input, FAR);
            let share = published.course.steady_rate() / model;
            assert!((0.95..1.03).contains(&share), "{bytes}: {share}");
            assert_eq!(published.messages, input.messages);
        }
    }

    #[test]
    fn a_slow_input_goes_in_the_batches_that_its_linger_fills() {
        let input = Input { messages: 1000, bytes: 200, rate: Some(1000.0) };
        let near = Place { round_trip: Duration::from_millis(10), ..FAR };
        let calls = run(input, near).calls;
        assert!((150..=200).contains(&calls), "{calls} calls: some six messages in 5 ms");
    }
}
