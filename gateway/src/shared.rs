//! What all workers of the process share. Nothing here is locked: limits do not change, counts are relaxed atomics.

use std::{sync::atomic::AtomicUsize, time::Duration};

use dbx_crds::config::{GatewayConfig, Origins};
use tokio::runtime::Handle;

use crate::drain::Drain;

/// What all workers share: limits as plain numbers, and a few counts for the whole process.
#[expect(missing_docs, reason = "the limits are those of the configuration, where they are documented")]
pub struct Shared {
    pub call_timeout: Duration,
    pub max_call_timeout: Duration,
    pub header_timeout: Duration,
    pub body_timeout: Duration,
    pub drain_timeout: Duration,
    pub idempotency_window: Duration,
    pub max_body_bytes: usize,
    pub max_key_bytes: usize,
    pub max_value_bytes: usize,
    pub max_result_bytes: usize,
    pub max_result_items: Option<u64>,
    pub max_header_bytes: usize,
    pub max_pipeline_calls: usize,
    pub max_in_flight: usize,
    pub max_connections: usize,
    pub max_own_connections: usize,
    pub hosts: Vec<String>,
    pub origins: Origins,
    pub access_log: bool,
    /// Where the work is done that is long enough to keep the other calls of a worker waiting.
    pub large: Handle,
    /// Calls being served.
    pub in_flight: AtomicUsize,
    /// Open client connections.
    pub connections: AtomicUsize,
    /// The way from serving to stopped.
    pub drain: Drain,
}

impl Shared {
    /// Takes limits out of a configuration.
    pub fn new(config: &GatewayConfig, large: Handle) -> Self {
        let limits = &config.limits;
        let count = |count: i32| usize::try_from(count).unwrap_or(0);
        Self {
            call_timeout: limits.call_timeout().value(),
            max_call_timeout: limits.max_call_timeout().value(),
            header_timeout: limits.header_timeout().value(),
            body_timeout: limits.body_timeout().value(),
            drain_timeout: config.drain.timeout().value(),
            idempotency_window: limits.idempotency_window().value(),
            max_body_bytes: limits.max_body_bytes().bytes(),
            max_key_bytes: limits.max_key_bytes().bytes(),
            max_value_bytes: limits.max_value_bytes().bytes(),
            max_result_bytes: limits.max_result_bytes().bytes(),
            max_result_items: u64::try_from(limits.max_result_items()).ok().filter(|most| *most > 0),
            max_header_bytes: limits.max_header_bytes().bytes(),
            max_pipeline_calls: count(limits.max_pipeline_calls()),
            max_in_flight: count(limits.max_in_flight()),
            max_connections: count(limits.max_connections()),
            max_own_connections: count(limits.max_own_connections()),
            hosts: config.hosts.clone(),
            origins: config.cors.origins(),
            access_log: config.log.access(),
            large,
            in_flight: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            drain: Drain::default(),
        }
    }
}
