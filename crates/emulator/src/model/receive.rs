//! Receiving: picks the next messages, hides them for a visibility timeout, and sets aside those that were received
//! too often.

use super::{
    message::{Key, Message, State},
    order::Order,
    queue::{IN_FLIGHT_LIMIT, Queue},
    receipt::Receipt,
};
use crate::{
    clock::Time,
    error::{Result, sqs},
    random::Random,
};

/// What a receive asks for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Receive {
    pub(crate) most: usize,
    /// Seconds; `None` takes the queue's.
    pub(crate) visibility: Option<u64>,
    /// FIFO: `ReceiveRequestAttemptId`.
    pub(crate) attempt: Option<String>,
    /// A long poll: beyond the limit in flight it waits, where a short one is an error.
    pub(crate) waits: bool,
    /// Whether the dead-letter queue exists: else messages stay, however often they were received.
    pub(crate) dead_letters: bool,
}

/// What a receive took.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// Each message's key and receipt handle.
    pub(crate) messages: Vec<(Key, String)>,
    /// Messages that were received as often as the redrive policy allows: out of this queue, not yet in another.
    pub(crate) dead: Vec<Message>,
}

impl Queue {
    /// Receives up to `most` messages.
    ///
    /// # Errors
    ///
    /// `OverLimit` when a standard queue has 120,000 messages in flight and the caller does not wait; to a long poll, and
    /// of a FIFO queue, there are no messages then.
    pub(crate) fn receive(&mut self, request: &Receive, now: Time, random: &mut Random) -> Result<Taken> {
        self.advance(now);
        let visibility = request.visibility.unwrap_or(self.settings.visibility);
        if let Some(id) = &request.attempt
            && let Some(again) = self.repeat(id, visibility, now)
        {
            return Ok(again);
        }
        if self.in_flight >= IN_FLIGHT_LIMIT {
            if self.settings.fifo || request.waits {
                return Ok(Taken::default());
            }
            return Err(sqs::over_limit(format!(
                "The maximum number of in flight messages is reached: {IN_FLIGHT_LIMIT}."
            )));
        }
        let mut taken = Taken::default();
        let keys = match self.order {
            Order::Standard(_) => self.take_standard(request, &mut taken.dead, now),
            Order::Fifo(_) => self.take_fifo(request, &mut taken.dead, now),
        };
        for key in keys {
            let receipt = self.lease(key, visibility, now);
            taken.messages.push((key, receipt.encode(random)));
        }
        if let Some(id) = &request.attempt
            && self.settings.fifo
        {
            let number = |key: &Key| self.messages.get(key).map_or(0, |message| message.receipts);
            let messages = taken.messages.iter().map(|(key, receipt)| (*key, number(key), receipt.clone()));
            self.attempts.remember(id, messages.collect(), now);
        }
        Ok(taken)
    }

    /// The oldest visible messages. They stay in the order until they are leased.
    fn take_standard(&mut self, request: &Receive, dead: &mut Vec<Message>, now: Time) -> Vec<Key> {
        let mut keys = Vec::new();
        while keys.len() < request.most {
            let Order::Standard(visible) = &mut self.order else { break };
            let Some(key) = visible.pop_first() else { break };
            if self.is_dead(key, request) {
                dead.extend(self.bury(key, now));
            } else {
                keys.push(key);
            }
        }
        keys
    }

    /// As many messages of one group as possible, then the next group.
    fn take_fifo(&mut self, request: &Receive, dead: &mut Vec<Message>, now: Time) -> Vec<Key> {
        let mut keys = Vec::new();
        while keys.len() < request.most {
            let Order::Fifo(groups) = &mut self.order else { break };
            let Some(group) = groups.next().cloned() else { break };
            let messages = &self.messages;
            let visible =
                |key: Key| messages.get(&key).is_some_and(|message| message.state == State::Visible);
            let found = groups.visible(&group, visible, request.most - keys.len());
            let (gone, alive): (Vec<Key>, Vec<Key>) =
                found.into_iter().partition(|key| self.is_dead(*key, request));
            for key in &gone {
                dead.extend(self.bury(*key, now));
            }
            if !gone.is_empty() {
                // What was behind the dead letters is looked at again.
                continue;
            }
            keys.extend(alive);
            if let Order::Fifo(groups) = &mut self.order {
                groups.hold(&group);
            }
        }
        keys
    }

    fn is_dead(&self, key: Key, request: &Receive) -> bool {
        let (Some(policy), Some(message)) = (&self.settings.redrive, self.messages.get(&key)) else {
            return false;
        };
        request.dead_letters && message.receives_here >= policy.max_receives
    }

    /// Takes a message out that goes to the dead-letter queue.
    fn bury(&mut self, key: Key, now: Time) -> Option<Message> {
        self.journal.dead_lettered(key, now);
        self.remove(key)
    }

    /// Hides a message for a consumer and issues its receipt.
    fn lease(&mut self, key: Key, visibility: u64, now: Time) -> Receipt {
        self.journal.received(key, now);
        let mut number = 0;
        if let Some(message) = self.messages.get_mut(&key) {
            message.receives += 1;
            message.receives_here += 1;
            message.first_received.get_or_insert(now);
            message.received = Some(now);
            message.receipts += 1;
            number = message.receipts;
        }
        let state = match visibility {
            0 => State::Visible,
            seconds => State::InFlight { until: now.plus_seconds(seconds) },
        };
        self.set_state(key, state);
        Receipt { queue: self.number, key, number }
    }

    /// The messages of an earlier receive with this attempt id, if none of them has changed since.
    fn repeat(&mut self, id: &str, visibility: u64, now: Time) -> Option<Taken> {
        let attempt = self.attempts.find(id, now)?;
        let unchanged = |key: &Key, number: u32| {
            self.messages.get(key).is_some_and(|message| {
                message.receipts == number && matches!(message.state, State::InFlight { .. })
            })
        };
        if !attempt.messages.iter().all(|(key, number, _)| unchanged(key, *number)) {
            return None;
        }
        let messages: Vec<(Key, String)> =
            attempt.messages.iter().map(|(key, _, receipt)| (*key, receipt.clone())).collect();
        for (key, _) in &messages {
            self.set_state(*key, State::InFlight { until: now.plus_seconds(visibility) });
        }
        Some(Taken { messages, dead: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{arn::Scope, settings::Settings};

    /// A queue with as many messages in flight as may be, and one more that is visible.
    fn full(fifo: bool) -> Queue {
        let name = if fifo { "q.fifo" } else { "q" };
        let scope = Scope::new("000000000000", "us-east-1");
        let mut queue = Queue::new(scope, name, 1, Settings::new(fifo), Time::default());
        for _ in 0..=IN_FLIGHT_LIMIT {
            let mut message =
                Message::new(String::new(), "m".into(), Arc::default(), "sender".into(), Time::default());
            message.group = fifo.then(|| "g".into());
            queue.put(message, 0, Time::default());
        }
        let all = Receive { most: IN_FLIGHT_LIMIT, ..Receive::default() };
        let taken = queue.receive(&all, Time::default(), &mut Random::new(Some(1))).unwrap();
        assert_eq!(taken.messages.len(), IN_FLIGHT_LIMIT);
        queue
    }

    // docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html: at the quota of messages in
    // flight short polling is answered with OverLimit, long polling without an error.
    #[test]
    fn beyond_120000_in_flight_a_short_poll_is_an_error_and_a_long_one_and_a_fifo_queues_bring_nothing() {
        let mut random = Random::new(Some(1));
        for fifo in [false, true] {
            let mut queue = full(fifo);
            for waits in [false, true] {
                let request = Receive { most: 1, waits, ..Receive::default() };
                let answer = queue.receive(&request, Time::default(), &mut random);
                match answer {
                    Err(error) => assert_eq!((error.code.as_ref(), fifo, waits), ("OverLimit", false, false)),
                    Ok(taken) => assert!(taken.messages.is_empty() && (fifo || waits)),
                }
            }
        }
    }
}
