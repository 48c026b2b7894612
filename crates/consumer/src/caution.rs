//! Caution after a start: a message that kills its process goes alone.
//!
//! What was in flight beside such a message is received again with it after the restart, and would follow it into the
//! dead-letter queue. So a worker that starts asks for one message at a time for as long as what arrives was received
//! before: the one that kills dies alone, and the others are handled. The first message that is new ends it; so do a number
//! of messages and a time, so that a queue of ordinary retries does not crawl.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// The most messages that are handled one at a time.
const MESSAGES: usize = 100;

/// The longest that messages are handled one at a time, from the first of them.
const TIME: Duration = Duration::from_secs(60);

/// Whether messages are taken one at a time.
#[derive(Debug)]
pub(crate) struct Caution(Mutex<State>);

#[derive(Debug)]
enum State {
    Over,
    On { messages: usize, until: Option<Instant> },
}

impl Caution {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State::On { messages: MESSAGES, until: None }))
    }

    /// Whether the next receive should ask for one message, once all before it are done.
    pub(crate) fn is_on(&self) -> bool {
        let mut state = self.state();
        if matches!(*state, State::On { until: Some(until), .. } if Instant::now() >= until) {
            *state = State::Over;
        }
        matches!(*state, State::On { .. })
    }

    /// A message was received for the `receive_count`th time.
    pub(crate) fn received(&self, receive_count: u32) {
        let mut state = self.state();
        *state = match *state {
            State::On { messages, until } if receive_count > 1 && messages > 1 => {
                State::On { messages: messages - 1, until: until.or_else(|| Some(Instant::now() + TIME)) }
            }
            _ => State::Over,
        };
    }

    /// Nothing under this lock can panic half-way.
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_lasts_while_what_arrives_was_received_before() {
        let caution = Caution::new();
        assert!(caution.is_on());
        for _ in 0..20 {
            caution.received(2);
            assert!(caution.is_on());
        }
        caution.received(1);
        assert!(!caution.is_on());
        caution.received(2);
        assert!(!caution.is_on(), "it ends permanently");
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_with_time_and_with_messages() {
        let caution = Caution::new();
        tokio::time::advance(TIME * 10).await;
        assert!(caution.is_on(), "while nothing arrives");
        caution.received(3);
        tokio::time::advance(TIME).await;
        assert!(!caution.is_on());
        let caution = Caution::new();
        (0..MESSAGES).for_each(|_| caution.received(2));
        assert!(!caution.is_on());
    }
}
