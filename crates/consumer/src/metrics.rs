//! The consumer's metrics, by the contract's names. No label has more than a handful of values.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use lifeline_health::{Histogram, IntCounter, IntCounterVec, IntGauge, LATENCY_BUCKETS, Metrics};
use lifeline_messaging::call::Fault;
use tokio::time::Instant;

/// How long a count of SQS's is shown after it was read: two looks at an idle queue may fail.
const SHOWN: Duration = Duration::from_secs(10 * 60);

/// The metrics of one worker, a struct for each part that counts.
#[derive(Debug, Clone)]
pub(crate) struct WorkerMetrics {
    pub(crate) outcomes: OutcomeMetrics,
    pub(crate) deliveries: DeliveryMetrics,
    pub(crate) handlers: HandlerMetrics,
    pub(crate) pollers: PollerMetrics,
    pub(crate) queue: QueueMetrics,
    pub(crate) delete_calls: IntCounterVec,
    pub(crate) visibility_calls: IntCounterVec,
    pub(crate) restarts: IntCounter,
}

/// What became of messages.
#[derive(Debug, Clone)]
pub(crate) struct OutcomeMetrics {
    pub(crate) received: IntCounter,
    pub(crate) deleted: IntCounter,
    pub(crate) retried: IntCounter,
    pub(crate) released: IntCounter,
    pub(crate) lost_lease: IntCounter,
    /// Receives that were spent on messages that no handler saw.
    pub(crate) without_handler: IntCounter,
    pub(crate) in_flight: IntGauge,
}

/// How long messages took.
#[derive(Debug, Clone)]
pub(crate) struct DeliveryMetrics {
    pub(crate) end_to_end_seconds: Histogram,
}

/// How handlers did.
#[derive(Debug, Clone)]
pub(crate) struct HandlerMetrics {
    pub(crate) handle_seconds: Histogram,
    /// Attempts that found a dependency unavailable.
    pub(crate) unavailable: IntCounter,
    /// Handlers that failed after they had their message deleted.
    pub(crate) acknowledged_then_failed: IntCounter,
    /// 1 while the circuit breaker is open.
    pub(crate) open: IntGauge,
}

/// What pollers did.
#[derive(Debug, Clone)]
pub(crate) struct PollerMetrics {
    pub(crate) calls: IntCounterVec,
    pub(crate) at_work: IntGauge,
    pub(crate) oldest: OldestMessage,
}

/// What is known of the queue.
#[derive(Debug, Clone)]
pub(crate) struct QueueMetrics {
    pub(crate) without_redrive: IntGauge,
    pub(crate) visible: Count,
    pub(crate) in_flight: Count,
    pub(crate) dead_letters: Count,
}

impl WorkerMetrics {
    pub(crate) fn new(m: &Metrics) -> Self {
        let oldest = OldestMessage::default();
        let metrics = Self::registered(m, oldest.clone());
        let (in_flight, visible) = (metrics.outcomes.in_flight.clone(), metrics.queue.visible.clone());
        m.gauge_at_scrape(
            "consumer_queue_oldest_message_age_seconds",
            "Age of the oldest message in the last receive that brought any, while messages wait or are in flight; else 0.",
            move || {
                let waits = in_flight.get() > 0 || visible.now().is_some_and(|n| n > 0);
                Some(if waits { oldest.age() } else { 0.0 })
            },
        );
        metrics
    }

    fn registered(m: &Metrics, oldest: OldestMessage) -> Self {
        Self {
            outcomes: OutcomeMetrics {
                received: m
                    .counter("consumer_messages_received_total", "Messages received, redeliveries included."),
                deleted: m.counter(
                    "consumer_messages_deleted_total",
                    "Messages handled whose delete SQS confirmed.",
                ),
                retried: m.counter(
                    "consumer_messages_retried_total",
                    "Messages whose handler failed, due again after a delay.",
                ),
                released: m.counter(
                    "consumer_messages_released_total",
                    "Messages returned to the queue without a result.",
                ),
                lost_lease: m.counter(
                    "consumer_messages_lost_lease_total",
                    "Messages whose lease ended before their delete.",
                ),
                without_handler: m.counter(
                    "consumer_receives_without_handler_total",
                    "Messages received whose handler never began: released at a shutdown or with their FIFO group, or lost before.",
                ),
                in_flight: m.int_gauge(
                    "consumer_in_flight_messages",
                    "Messages in flight now, from receive to outcome.",
                ),
            },
            deliveries: DeliveryMetrics {
                end_to_end_seconds: m.histogram(
                    "consumer_end_to_end_seconds",
                    "From SNS's timestamp to the confirmed delete.",
                    LATENCY_BUCKETS,
                ),
            },
            handlers: HandlerMetrics {
                handle_seconds: m.histogram(
                    "consumer_handle_duration_seconds",
                    "Time a handler took, whatever it returned.",
                    LATENCY_BUCKETS,
                ),
                unavailable: m.counter(
                    "consumer_unavailable_attempts_total",
                    "Runs of the handler that found a dependency unavailable; their messages are tried again in place.",
                ),
                acknowledged_then_failed: m.counter(
                    "consumer_acknowledged_then_failed_total",
                    "Handlers that failed or were cancelled after their message was deleted at their request.",
                ),
                open: m.int_gauge(
                    "consumer_handler_unavailable",
                    "1 while the handler reports a dependency as unavailable, or different messages keep failing: intake is stopped or slowed.",
                ),
            },
            pollers: PollerMetrics {
                calls: outcomes(m, "consumer_receive_calls_total", "ReceiveMessage calls by outcome.", &["messages", "empty"]),
                at_work: m.int_gauge("consumer_pollers", "Pollers at work now."),
                oldest,
            },
            queue: QueueMetrics {
                without_redrive: m.int_gauge(
                    "consumer_without_redrive_policy",
                    "1 while the queue has no redrive policy: poison messages stay in it.",
                ),
                visible: Count::shown(
                    m,
                    "consumer_queue_visible_messages",
                    "Messages waiting in the queue, approximately; absent while unknown.",
                ),
                in_flight: Count::shown(
                    m,
                    "consumer_queue_in_flight_messages",
                    "Messages of the queue in flight at any consumer, approximately; absent while unknown.",
                ),
                dead_letters: Count::shown(
                    m,
                    "consumer_dead_letter_messages",
                    "Messages in the dead-letter queue, approximately; absent while unknown.",
                ),
            },
            delete_calls: outcomes(m, "consumer_delete_calls_total", "DeleteMessageBatch calls by outcome.", &["ok", "entry_failed"]),
            visibility_calls: outcomes(m, "consumer_visibility_calls_total", "ChangeMessageVisibilityBatch calls by outcome.", &["ok", "entry_failed"]),
            restarts: m.counter(
                "consumer_poller_restarts_total",
                "Tasks of the worker that exited unexpectedly and were started again.",
            ),
        }
    }
}

/// Calls by outcome: each of `ok` and each fault begins at 0, so that `increase()` sees the first of them.
fn outcomes(m: &Metrics, name: &str, help: &str, ok: &[&str]) -> IntCounterVec {
    let calls = m.counter_vec(name, help, &["outcome"]);
    for outcome in ok.iter().copied().chain(Fault::ALL.map(Fault::label)) {
        calls.with_label_values(&[outcome]);
    }
    calls
}

/// A count of SQS's, and when it was read: a queue that cannot be asked has no count, rather than none or the last one forever.
/// Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Count(Arc<Mutex<Option<(u32, Instant)>>>);

impl Count {
    fn shown(m: &Metrics, name: &str, help: &str) -> Self {
        let count = Self::default();
        let shown = count.clone();
        m.gauge_at_scrape(name, help, move || shown.now().map(f64::from));
        count
    }

    /// SQS returned it now.
    pub(crate) fn set(&self, count: Option<u32>) {
        *self.read() = count.map(|count| (count, Instant::now()));
    }

    fn now(&self) -> Option<u32> {
        (*self.read()).filter(|(_, at)| at.elapsed() < SHOWN).map(|(count, _)| count)
    }

    fn read(&self) -> MutexGuard<'_, Option<(u32, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When the oldest message of the last receive was published. A worker that is full receives nothing, and its messages
/// grow old nevertheless: so the time is kept, and the age is computed when it is asked for. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct OldestMessage(Arc<Mutex<Option<SystemTime>>>);

impl OldestMessage {
    /// `None` for an empty receive.
    pub(crate) fn set(&self, published_at: Option<SystemTime>) {
        *self.published_at() = published_at;
    }

    /// In seconds. Clocks that disagree make no negative age.
    fn age(&self) -> f64 {
        let published_at = *self.published_at();
        published_at.and_then(|at| at.elapsed().ok()).map_or(0.0, |age| age.as_secs_f64())
    }

    fn published_at(&self) -> MutexGuard<'_, Option<SystemTime>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
