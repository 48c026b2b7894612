//! The publisher's metrics.

use lifeline_health::{Histogram, IntCounter, IntCounterVec, IntGauge, LATENCY_BUCKETS, Metrics};
use lifeline_messaging::call::Fault;

/// One set per publisher. Cheap to clone.
#[derive(Clone)]
pub(crate) struct PublisherMetrics {
    pub(crate) published: IntCounter,
    pub(crate) rejected: IntCounter,
    pub(crate) calls: IntCounterVec,
    pub(crate) call_seconds: Histogram,
    pub(crate) buffered: IntGauge,
}

impl PublisherMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let calls = metrics.counter_vec(
            "producer_publish_calls_total",
            "PublishBatch calls by outcome.",
            &["outcome"],
        );
        // each begins at 0, so that `increase()` sees the first of them
        for outcome in ["success", "partial"].into_iter().chain(Fault::ALL.map(Fault::label)) {
            calls.with_label_values(&[outcome]);
        }
        Self {
            published: metrics.counter("producer_messages_published_total", "Messages that SNS confirmed."),
            rejected: metrics.counter(
                "producer_messages_rejected_total",
                "Messages that were invalid, rejected by SNS, or given up unconfirmed.",
            ),
            calls,
            call_seconds: metrics.histogram(
                "producer_publish_duration_seconds",
                "Duration of PublishBatch calls, failed ones included.",
                LATENCY_BUCKETS,
            ),
            buffered: metrics
                .int_gauge("producer_buffered_messages", "Messages buffered or in flight now, unconfirmed."),
        }
    }
}
