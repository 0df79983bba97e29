//! What the operator counts.

use prometheus::{Encoder, HistogramVec, IntCounterVec, IntGauge, Registry, TextEncoder, histogram_opts, opts};

/// Every metric; the words beside each are its help.
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) reconciles: IntCounterVec,
    pub(crate) durations: HistogramVec,
    pub(crate) waits: HistogramVec,
    pub(crate) applies: IntCounterVec,
    pub(crate) drift: IntCounterVec,
    pub(crate) prunes: IntCounterVec,
    pub(crate) statuses: IntCounterVec,
    pub(crate) watch_errors: IntCounterVec,
    pub(crate) gateways: IntGauge,
    pub(crate) leader: IntGauge,
}

impl Metrics {
    pub(crate) fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| -> prometheus::Result<IntCounterVec> {
            let counter = IntCounterVec::new(opts!(format!("dbx_operator_{name}"), help), labels)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let reconciles = counter("reconciles_total", "Looks at an object, by its kind and how they ended.", &["kind", "result"])?;
        let applies = counter("applies_total", "Objects that were sent to the API server, by kind and result.", &["kind", "result"])?;
        let drift = counter("drift_corrections_total", "Objects that somebody else had changed or deleted, by kind.", &["kind"])?;
        let prunes = counter("prunes_total", "Objects that were taken away since nothing needs them, by kind.", &["kind"])?;
        let statuses = counter("status_updates_total", "Statuses that were written, by result.", &["result"])?;
        let watch_errors = counter("watch_errors_total", "Watches that ended with an error and were started again, by kind.", &["kind"])?;
        let durations = HistogramVec::new(
            histogram_opts!(
                "dbx_operator_reconcile_duration_seconds",
                "How long a look at an object took.",
                vec![0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0]
            ),
            &["kind", "result"],
        )?;
        registry.register(Box::new(durations.clone()))?;
        let waits = HistogramVec::new(
            histogram_opts!(
                "dbx_operator_queue_wait_seconds",
                "How long an object waited for a look, from what made it necessary, or from when it was due.",
                vec![0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0]
            ),
            &["kind"],
        )?;
        registry.register(Box::new(waits.clone()))?;
        let gateways = IntGauge::new("dbx_operator_gateways", "Gateways there are.")?;
        registry.register(Box::new(gateways.clone()))?;
        let leader = IntGauge::new("dbx_operator_leader", "1 while this operator holds the Lease and works, 0 while it waits.")?;
        registry.register(Box::new(leader.clone()))?;
        Ok(Self { registry, reconciles, durations, waits, applies, drift, prunes, statuses, watch_errors, gateways, leader })
    }

    /// All of them in Prometheus' text format.
    pub(crate) fn text(&self) -> prometheus::Result<Vec<u8>> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}
