//! The producer's metrics, by the contract's names.

use lifeline_health::{Histogram, IntCounter, IntCounterVec, IntGauge, LATENCY_BUCKETS, Metrics};

/// Made once a publisher; cheap to clone.
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
        Self {
            published: metrics.counter("producer_messages_published_total", "Messages that SNS confirmed."),
            rejected: metrics.counter(
                "producer_messages_rejected_total",
                "Messages that were refused here or by SNS, or given up unconfirmed.",
            ),
            calls: metrics.counter_vec(
                "producer_publish_calls_total",
                "PublishBatch calls by outcome.",
                &["outcome"],
            ),
            call_seconds: metrics.histogram(
                "producer_publish_duration_seconds",
                "Time that a PublishBatch call took, whatever came back.",
                LATENCY_BUCKETS,
            ),
            buffered: metrics.int_gauge("producer_buffered_messages", "Messages held now, unconfirmed."),
        }
    }
}
