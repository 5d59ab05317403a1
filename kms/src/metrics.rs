//! Prometheus metrics; the two `dstack_kms_*` counters keep upstream's names.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Label of [`Metrics::refusals`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reason {
    /// Stable code of the refusal.
    pub code: &'static str,
}

/// Everything the service counts.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// GetAppKey, GetKmsKey and SignCert calls.
    pub attestation_requests: Counter,
    /// Those that were refused.
    pub attestation_failures: Counter,
    /// Refusals by code.
    pub refusals: Family<Reason, Counter>,
    /// Seconds from request to release.
    pub release_seconds: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let attestation_requests = Counter::default();
        let attestation_failures = Counter::default();
        let refusals = Family::default();
        let release_seconds = Histogram::new(exponential_buckets(0.001, 2.0, 14));
        // The encoder appends `_total` to counters.
        registry.register(
            "dstack_kms_attestation_requests",
            "Requests that carry evidence",
            attestation_requests.clone(),
        );
        registry.register(
            "dstack_kms_attestation_failures",
            "Requests that carry evidence and were refused",
            attestation_failures.clone(),
        );
        registry.register("bylaw_kms_refusals", "Refusals by code", refusals.clone());
        registry.register(
            "bylaw_kms_release_seconds",
            "Time from request to release",
            release_seconds.clone(),
        );
        Self {
            registry,
            attestation_requests,
            attestation_failures,
            refusals,
            release_seconds,
        }
    }
}

impl Metrics {
    /// The text exposition.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstream_names_are_kept() {
        let metrics = Metrics::default();
        metrics.attestation_requests.inc();
        let text = metrics.render();
        assert!(
            text.contains("dstack_kms_attestation_requests_total 1"),
            "{text}"
        );
        assert!(
            text.contains("dstack_kms_attestation_failures_total 0"),
            "{text}"
        );
    }
}
