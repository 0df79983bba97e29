//! Numbers: limits, limits of rate, and what bounds the record of calls.

use std::collections::HashSet;

use super::{Findings, is_name};
use crate::config::{DatabaseLimits, Duration, GatewayConfig, Limits, Size};

impl GatewayConfig {
    pub(super) fn check_rates(&self, findings: &mut Findings) {
        let mut names = HashSet::new();
        for (index, limit) in self.rate_limits.iter().enumerate() {
            let path = format!("rateLimits[{index}]");
            if !is_name(&limit.name, 40) || !names.insert(&limit.name) {
                findings.add(
                    format!("{path}.name"),
                    "expected a name of its own: lower-case letters, digits and `-`, starting with a letter, at most 40",
                );
            }
            self.check_identities(&limit.to, &format!("{path}.to"), findings);
            self.check_names(&limit.databases, &format!("{path}.databases"), findings);
            if limit.commands.is_none() && limit.bytes.is_none() && limit.sockets.is_none() {
                findings.add(&path, "expected at least one of `commands`, `bytes`, `sockets`");
            }
            for (name, count) in [("commands", limit.commands), ("burst", limit.burst), ("sockets", limit.sockets)] {
                if let Some(count) = count {
                    check_count(&format!("{path}.{name}"), count, 1_000_000_000, findings);
                }
            }
            if let Some(bytes) = &limit.bytes {
                check_size(&format!("{path}.bytes"), bytes, 1, 1 << 40, findings);
            }
            for (name, given) in [("burst", limit.burst.is_some()), ("sharedIn", limit.shared_in.is_some())] {
                if given && limit.commands.is_none() {
                    findings.add(format!("{path}.{name}"), "is about `commands`, which are not limited here");
                }
            }
            if limit.on_failure.is_some() && limit.shared_in.is_none() {
                findings.add(format!("{path}.onFailure"), "is about `sharedIn`, without which nothing can fail");
            }
            self.check_names(limit.shared_in.as_slice(), &format!("{path}.sharedIn"), findings);
        }
        if !(0..=1000).contains(&self.audit.max_files()) {
            findings.add("audit.maxFiles", format!("expected 0 to 1000, found {}", self.audit.max_files()));
        }
        check_size("audit.maxFileBytes", &self.audit.max_file_bytes(), 4096, 1 << 40, findings);
    }

    pub(super) fn check_limits(&self, findings: &mut Findings) {
        let (limits, sockets) = (&self.limits, &self.sockets);
        check_calls("limits", limits, findings);
        check_timeouts("limits", limits, findings);
        for (path, count, most) in [
            ("limits.maxPipelineCalls", limits.max_pipeline_calls(), 100_000),
            ("limits.maxConnections", limits.max_connections(), 1_000_000),
            ("sockets.maxCalls", sockets.max_calls(), 100_000),
            ("sockets.maxSubscriptions", sockets.max_subscriptions(), 100_000),
            ("sockets.maxWaitingConnections", sockets.max_waiting_connections(), 10_000),
            ("workers", self.workers.unwrap_or(1), 256),
        ] {
            check_count(path, count, most, findings);
        }
        if !(0..=1_000_000_000).contains(&limits.max_result_items()) {
            let found = limits.max_result_items();
            findings.add("limits.maxResultItems", format!("expected 0, which is no limit, to 1000000000, found {found}"));
        }
        if limits.max_url_bytes.is_some() && limits.max_url_bytes().bytes() > limits.max_header_bytes().bytes() {
            let (url, all) = (limits.max_url_bytes(), limits.max_header_bytes());
            findings.add("limits.maxUrlBytes", format!("is {url}, larger than limits.maxHeaderBytes, which is {all}"));
        }
        for (path, count) in [
            ("limits.maxConnectionsPerAddress", limits.max_connections_per_address()),
            ("limits.maxInFlightPerIdentity", limits.max_in_flight_per_identity()),
            ("limits.maxSocketsPerIdentity", limits.max_sockets_per_identity()),
        ] {
            if !(0..=1_000_000).contains(&count) {
                findings.add(path, format!("expected 0, which is no limit, to 1000000, found {count}"));
            }
        }
        for (path, size, least, most) in [
            ("limits.maxBodyBytes", limits.max_body_bytes(), 1, 1 << 30),
            ("limits.maxKeyBytes", limits.max_key_bytes(), 1, 512 << 20),
            ("limits.maxValueBytes", limits.max_value_bytes(), 1, 512 << 20),
            ("limits.scriptCacheBytes", limits.script_cache_bytes(), 0, 1 << 30),
            ("limits.maxHeaderBytes", limits.max_header_bytes(), 8192, 1 << 20),
            // Longer ones cannot be read at all.
            ("limits.maxUrlBytes", limits.max_url_bytes(), 256, 65_534),
            ("sockets.maxQueuedBytes", sockets.max_queued_bytes(), 4096, 1 << 30),
            ("sockets.maxTotalQueuedBytes", sockets.max_total_queued_bytes(), 4096, 1 << 40),
        ] {
            check_size(path, &size, least, most, findings);
        }
        for (path, duration) in [
            ("limits.handshakeTimeout", limits.handshake_timeout()),
            ("limits.headerTimeout", limits.header_timeout()),
            ("limits.keepAliveTimeout", limits.keep_alive_timeout()),
            ("limits.bodyTimeout", limits.body_timeout()),
            ("limits.writeTimeout", limits.write_timeout()),
            ("limits.idempotencyWindow", limits.idempotency_window()),
            ("sockets.maxWait", sockets.max_wait()),
            ("sockets.pingInterval", sockets.ping_interval()),
            ("sockets.idleTimeout", sockets.idle_timeout()),
        ] {
            check_duration(path, &duration, findings);
        }
        for (index, database) in self.databases.iter().enumerate().filter(|(_, database)| database.limits != DatabaseLimits::default()) {
            let (path, own) = (format!("databases[{index}].limits"), &database.limits);
            // What is not said here is judged where it is said.
            check_calls(&path, &own.over(&Limits::default()), findings);
            if own.call_timeout.is_some() || own.max_call_timeout.is_some() {
                check_timeouts(&path, &own.over(limits), findings);
            }
        }
    }
}

/// The limits that a database may have of its own.
fn check_calls(path: &str, limits: &Limits, findings: &mut Findings) {
    check_count(&format!("{path}.maxInFlight"), limits.max_in_flight(), 1_000_000, findings);
    check_count(&format!("{path}.maxOwnConnections"), limits.max_own_connections(), 10_000, findings);
    check_size(&format!("{path}.maxResultBytes"), &limits.max_result_bytes(), 1, 1 << 30, findings);
    check_duration(&format!("{path}.callTimeout"), &limits.call_timeout(), findings);
    check_duration(&format!("{path}.maxCallTimeout"), &limits.max_call_timeout(), findings);
}

/// A call that does not say how long it may take may take no longer than one that does.
fn check_timeouts(path: &str, limits: &Limits, findings: &mut Findings) {
    if limits.call_timeout().value() > limits.max_call_timeout().value() {
        let (usual, most) = (limits.call_timeout(), limits.max_call_timeout());
        findings.add(format!("{path}.callTimeout"), format!("is {usual}, longer than {path}.maxCallTimeout, which is {most}"));
    }
}

fn check_count(path: &str, count: i32, most: i32, findings: &mut Findings) {
    if !(1..=most).contains(&count) {
        findings.add(path, format!("expected 1 to {most}, found {count}"));
    }
}

fn check_size(path: &str, size: &Size, least: usize, most: usize, findings: &mut Findings) {
    if !(least..=most).contains(&size.bytes()) {
        findings.add(path, format!("expected {least} to {most} bytes, found {size}"));
    }
}

fn check_duration(path: &str, duration: &Duration, findings: &mut Findings) {
    if duration.value().is_zero() {
        findings.add(path, "has to be longer than nothing");
    }
}
