//! What all workers of the process share. Nothing here is locked: limits do not change, counts are relaxed atomics.

use std::{sync::atomic::AtomicUsize, time::Duration};

use dbx_crds::config::{GatewayConfig, Limits, Origins};
use tokio::runtime::Handle;

use crate::{
    auth::Gate, backend::Bounds, drain::Drain, listener::Addresses, peer::Proxies, rates::Rates, record::Records, scripts::Scripts,
};

/// What all workers share: limits as plain numbers, and a few counts for the whole process.
#[expect(missing_docs, reason = "the limits are those of the configuration, where they are documented")]
pub struct Shared {
    pub handshake_timeout: Duration,
    pub header_timeout: Duration,
    pub keep_alive_timeout: Duration,
    pub write_timeout: Duration,
    pub body_timeout: Duration,
    pub drain_propagation: Duration,
    pub drain_timeout: Duration,
    pub idempotency_window: Duration,
    pub max_body_bytes: usize,
    pub max_key_bytes: usize,
    pub max_value_bytes: usize,
    pub max_result_items: Option<u64>,
    pub max_header_bytes: usize,
    pub max_url_bytes: usize,
    pub max_pipeline_calls: usize,
    pub max_connections: usize,
    pub max_connections_per_address: usize,
    pub max_socket_calls: usize,
    pub max_queued_bytes: usize,
    pub max_total_queued_bytes: usize,
    pub max_subscriptions: usize,
    pub max_waiting_connections: usize,
    pub max_wait: Duration,
    pub ping_interval: Duration,
    pub idle_timeout: Duration,
    pub hosts: Vec<String>,
    pub origins: Origins,
    /// The access log and the audit log.
    pub records: Records,
    /// The data listener speaks TLS.
    pub serves_tls: bool,
    /// What is in front of the gateway.
    pub proxies: Proxies,
    /// Where the work is done that is long enough to keep the other calls of a worker waiting.
    pub large: Handle,
    /// Open client connections.
    pub connections: AtomicUsize,
    /// Connections that are being turned away.
    pub turned_away: AtomicUsize,
    /// Open client connections by address.
    pub addresses: Addresses,
    /// Open WebSockets and event streams.
    pub sockets: AtomicUsize,
    /// Bytes that wait for clients to read them.
    pub queued_bytes: AtomicUsize,
    /// How much each may do, if that is limited.
    pub rates: Option<Rates>,
    /// Who calls.
    pub gate: Gate,
    /// The way from serving to stopped.
    pub drain: Drain,
}

impl Shared {
    /// Takes limits out of a configuration.
    pub fn new(config: &GatewayConfig, gate: Gate, large: Handle, records: Records) -> Self {
        let (limits, sockets) = (&config.limits, &config.sockets);
        Self {
            handshake_timeout: limits.handshake_timeout().value(),
            keep_alive_timeout: limits.keep_alive_timeout().value(),
            write_timeout: limits.write_timeout().value(),
            header_timeout: limits.header_timeout().value(),
            body_timeout: limits.body_timeout().value(),
            drain_propagation: config.drain.propagation().value(),
            drain_timeout: config.drain.timeout().value(),
            idempotency_window: limits.idempotency_window().value(),
            max_body_bytes: limits.max_body_bytes().bytes(),
            max_key_bytes: limits.max_key_bytes().bytes(),
            max_value_bytes: limits.max_value_bytes().bytes(),
            max_result_items: u64::try_from(limits.max_result_items()).ok().filter(|most| *most > 0),
            max_header_bytes: limits.max_header_bytes().bytes(),
            max_url_bytes: limits.max_url_bytes().bytes(),
            max_pipeline_calls: count(limits.max_pipeline_calls()),
            max_connections: count(limits.max_connections()),
            max_connections_per_address: count(limits.max_connections_per_address()),
            max_socket_calls: count(sockets.max_calls()),
            max_queued_bytes: sockets.max_queued_bytes().bytes(),
            max_total_queued_bytes: sockets.max_total_queued_bytes().bytes(),
            max_subscriptions: count(sockets.max_subscriptions()),
            max_waiting_connections: count(sockets.max_waiting_connections()),
            max_wait: sockets.max_wait().value(),
            ping_interval: sockets.ping_interval().value(),
            idle_timeout: sockets.idle_timeout().value(),
            hosts: config.hosts.clone(),
            origins: config.cors.origins(),
            records,
            serves_tls: config.listen.tls.is_some(),
            proxies: Proxies::new(&config.listen),
            large,
            connections: AtomicUsize::new(0),
            turned_away: AtomicUsize::new(0),
            addresses: Addresses::default(),
            sockets: AtomicUsize::new(0),
            queued_bytes: AtomicUsize::new(0),
            rates: Rates::new(config),
            gate,
            drain: Drain::default(),
        }
    }
}

/// What all workers share of one database: the limits that hold for it, and how many calls it is being asked. One that hangs fills
/// its own room and no other's.
#[expect(missing_docs, reason = "the limits are those of the configuration, where they are documented")]
pub struct Room {
    pub call_timeout: Duration,
    pub max_call_timeout: Duration,
    pub max_result_bytes: usize,
    pub max_in_flight: usize,
    pub max_own_connections: usize,
    /// Calls being served.
    pub in_flight: AtomicUsize,
    /// What the server may have lost.
    pub scripts: Scripts,
}

impl Room {
    /// Takes the limits that are in force for a database.
    pub fn new(limits: &Limits) -> Self {
        Self {
            call_timeout: limits.call_timeout().value(),
            max_call_timeout: limits.max_call_timeout().value(),
            max_result_bytes: limits.max_result_bytes().bytes(),
            max_in_flight: count(limits.max_in_flight()),
            max_own_connections: count(limits.max_own_connections()),
            in_flight: AtomicUsize::new(0),
            scripts: Scripts::new(limits.script_cache_bytes().bytes()),
        }
    }

    /// What a worker's connections to the database may use, of which so many are for what waits.
    pub fn bounds(&self, waiting: usize) -> Bounds {
        Bounds {
            result_bytes: self.max_result_bytes,
            pending: self.max_in_flight,
            own: self.max_own_connections,
            waiting,
            silence: 2 * self.call_timeout,
        }
    }
}

/// A number that was found to be positive.
fn count(count: i32) -> usize {
    usize::try_from(count).unwrap_or(0)
}
