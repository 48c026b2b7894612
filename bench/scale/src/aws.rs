//! Quotas and prices of AWS: `aws.json`, each with its source and date.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Aws {
    pub(crate) sns_publish: SnsPublish,
    pub(crate) sns_fifo: SnsFifo,
    pub(crate) sqs_in_flight: InFlight,
    pub(crate) sqs_fifo: SqsFifo,
    pub(crate) prices: Prices,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct SnsPublish {
    pub(crate) what: String,
    pub(crate) source: String,
    pub(crate) date: String,
    pub(crate) regions: BTreeMap<String, f64>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct SnsFifo {
    pub(crate) what: String,
    pub(crate) source: String,
    pub(crate) date: String,
    pub(crate) topic: f64,
    pub(crate) group: f64,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct InFlight {
    pub(crate) what: String,
    pub(crate) source: String,
    pub(crate) date: String,
    pub(crate) messages: f64,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct SqsFifo {
    pub(crate) what: String,
    pub(crate) source: String,
    pub(crate) date: String,
    pub(crate) calls: f64,
    pub(crate) high: BTreeMap<String, f64>,
}

/// Dollars per million requests.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Prices {
    pub(crate) region: String,
    pub(crate) date: String,
    pub(crate) sqs_source: String,
    /// Requests per month up to which a price applies, and the price.
    pub(crate) sqs_tiers: Vec<(f64, f64)>,
    pub(crate) sqs_fifo: f64,
    pub(crate) sns_source: String,
    pub(crate) sns: f64,
    /// Bytes of a call that are billed as one request.
    pub(crate) chunk_bytes: f64,
}

impl Aws {
    pub(crate) fn read() -> Result<Self> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/aws.json");
        let text = std::fs::read_to_string(path).context("aws.json")?;
        serde_json::from_str(&text).context("aws.json")
    }

    /// Messages per second that one account may publish in a region.
    pub(crate) fn publish_quota(&self, region: &str) -> f64 {
        self.sns_publish.regions.get(region).copied().unwrap_or(0.0)
    }
}

impl Prices {
    /// Requests that a call of `bytes` is billed as.
    pub(crate) fn requests(&self, bytes: f64) -> f64 {
        (bytes / self.chunk_bytes).ceil().max(1.0)
    }

    /// Dollars for a month's SQS requests, ignoring the free million.
    pub(crate) fn sqs(&self, requests: f64) -> f64 {
        let mut below = 0.0;
        let mut dollars = 0.0;
        for (up_to, price) in &self.sqs_tiers {
            dollars += (requests.min(*up_to) - below).max(0.0) * price / 1e6;
            below = *up_to;
        }
        dollars
    }

    pub(crate) fn sns(&self, requests: f64) -> f64 {
        requests * self.sns / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_fall_by_tier_and_large_calls_are_several_requests() {
        let prices = Aws::read().unwrap().prices;
        assert_eq!(prices.sqs(1e6), 0.4);
        assert!((prices.sqs(250e9) - (40_000.0 + 30_000.0 + 12_000.0)).abs() < 1e-6);
        assert_eq!([0.0, 65_536.0, 65_537.0].map(|bytes| prices.requests(bytes)), [1.0, 1.0, 2.0]);
    }
}
