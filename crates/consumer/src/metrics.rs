//! The consumer's metrics, by the contract's names. No label has more than a handful of values.

use lifeline_health::{Gauge, Histogram, IntCounter, IntCounterVec, IntGauge, LATENCY_BUCKETS, Metrics};

/// Made once a worker; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct WorkerMetrics {
    pub(crate) received: IntCounter,
    pub(crate) deleted: IntCounter,
    pub(crate) retried: IntCounter,
    pub(crate) released: IntCounter,
    pub(crate) lost_lease: IntCounter,
    pub(crate) in_flight: IntGauge,
    pub(crate) handle_seconds: Histogram,
    pub(crate) end_to_end_seconds: Histogram,
    pub(crate) receive_calls: IntCounterVec,
    pub(crate) delete_calls: IntCounterVec,
    pub(crate) visibility_calls: IntCounterVec,
    pub(crate) pollers: IntGauge,
    pub(crate) poller_restarts: IntCounter,
    pub(crate) without_redrive: IntGauge,
    pub(crate) oldest_age: Gauge,
    pub(crate) queue_visible: IntGauge,
    pub(crate) queue_in_flight: IntGauge,
    pub(crate) dead_letters: IntGauge,
}

impl WorkerMetrics {
    pub(crate) fn new(m: &Metrics) -> Self {
        let outcome = &["outcome"];
        Self {
            received: m
                .counter("consumer_messages_received_total", "Messages received, redeliveries included."),
            deleted: m
                .counter("consumer_messages_deleted_total", "Messages handled whose delete SQS confirmed."),
            retried: m.counter(
                "consumer_messages_retried_total",
                "Messages whose handler failed, due again after a delay.",
            ),
            released: m.counter("consumer_messages_released_total", "Messages given back unhandled."),
            lost_lease: m.counter(
                "consumer_messages_lost_lease_total",
                "Messages whose lease ended before their delete.",
            ),
            in_flight: m
                .int_gauge("consumer_in_flight_messages", "Messages held now, from receive to outcome."),
            handle_seconds: m.histogram(
                "consumer_handle_duration_seconds",
                "Time a handler took, whatever it returned.",
                LATENCY_BUCKETS,
            ),
            end_to_end_seconds: m.histogram(
                "consumer_end_to_end_seconds",
                "From SNS's timestamp to the confirmed delete.",
                LATENCY_BUCKETS,
            ),
            receive_calls: m.counter_vec(
                "consumer_receive_calls_total",
                "ReceiveMessage calls by outcome.",
                outcome,
            ),
            delete_calls: m.counter_vec(
                "consumer_delete_calls_total",
                "DeleteMessageBatch calls by outcome.",
                outcome,
            ),
            visibility_calls: m.counter_vec(
                "consumer_visibility_calls_total",
                "ChangeMessageVisibilityBatch calls by outcome.",
                outcome,
            ),
            pollers: m.int_gauge("consumer_pollers", "Pollers at work now."),
            poller_restarts: m.counter(
                "consumer_poller_restarts_total",
                "Tasks of the worker that ended unasked and were started again.",
            ),
            without_redrive: m.int_gauge(
                "consumer_without_redrive_policy",
                "1 while the queue has no redrive policy: poison stays in it.",
            ),
            oldest_age: m.gauge(
                "consumer_queue_oldest_message_age_seconds",
                "Age of the oldest message in the last receive; 0 when it was empty.",
            ),
            queue_visible: m.int_gauge(
                "consumer_queue_visible_messages",
                "Messages waiting in the queue, approximately.",
            ),
            queue_in_flight: m.int_gauge(
                "consumer_queue_in_flight_messages",
                "Messages of the queue held by any consumer, approximately.",
            ),
            dead_letters: m.int_gauge(
                "consumer_dead_letter_messages",
                "Messages in the dead-letter queue, approximately.",
            ),
        }
    }
}
