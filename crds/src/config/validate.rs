//! What a schema cannot say about a configuration. Pure, so the operator refuses the same mistakes before a pod sees them.

use std::{collections::HashSet, fmt, net::SocketAddr};

use super::{Database, DatabaseLimits, Duration, GatewayConfig, Limits, Redis, RedisAddress, RedisUrl, Size};

/// One mistake: where it is and what was expected there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Invalid {
    /// The setting's path, such as `databases[0].redis.url`.
    pub path: String,
    /// What is wrong and what was expected; holds no secret.
    pub message: String,
}

impl fmt::Display for Invalid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.path, self.message)
    }
}

/// Where mistakes are gathered, so that one run tells them all.
#[derive(Default)]
struct Findings(Vec<Invalid>);

impl Findings {
    fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.push(Invalid { path: path.into(), message: message.into() });
    }
}

impl GatewayConfig {
    /// Every mistake of a configuration, wherever it is used.
    pub fn validate(&self) -> Vec<Invalid> {
        let mut findings = Findings::default();
        if self.databases.is_empty() {
            findings.add(
                "databases",
                "expected at least one database; `REDIS_URL`, `--database redis=redis://host:6379` or a `databases` entry gives one",
            );
        }
        let mut names = HashSet::new();
        for (index, database) in self.databases.iter().enumerate() {
            let path = format!("databases[{index}]");
            if !is_name(&database.name, 20) {
                findings.add(format!("{path}.name"), "expected lower-case letters, digits and `-`, starting with a letter, at most 20");
            }
            if matches!(database.name.as_str(), "whoami" | "ws") {
                findings.add(format!("{path}.name"), format!("`{}` is a word of the API itself", database.name));
            }
            if !names.insert(&database.name) {
                findings.add(format!("{path}.name"), format!("`{}` is used twice", database.name));
            }
            check_database(database, &path, &mut findings);
        }
        self.check_addresses(&mut findings);
        self.check_limits(&mut findings);
        findings.0
    }

    /// Every mistake of a configuration that a `DbxGateway` holds: those of [`Self::validate`], and what has no meaning there.
    pub fn validate_on_kubernetes(&self) -> Vec<Invalid> {
        let mut findings = Findings(self.validate());
        if self.auth.mode.is_none() {
            findings.add("auth.mode", "has to be said, since a pod that listens on loopback serves nobody");
        }
        for (field, given) in [("data", &self.listen.data), ("operations", &self.listen.operations)] {
            if given.is_some() {
                findings.add(format!("listen.{field}"), "is set by the operator, together with the ports of the pod");
            }
        }
        for (path, _) in self.sources().into_iter().filter(|(_, source)| source.file.is_some() || source.env.is_some()) {
            findings.add(path, "`file` and `env` have no meaning in a pod that the operator makes; use `secretKeyRef`");
        }
        for (index, redis) in self.databases.iter().enumerate().filter_map(|(index, database)| Some((index, database.redis.as_ref()?))) {
            let path = format!("databases[{index}].redis");
            if let Some(Ok(url)) = redis.url.as_deref().map(RedisUrl::parse) {
                if url.password.is_some() {
                    findings.add(
                        format!("{path}.url"),
                        "holds a password, which everybody could read who reads the object; use `passwordFrom`",
                    );
                }
                if matches!(url.address, RedisAddress::Unix(_)) {
                    findings.add(format!("{path}.url"), "a unix socket cannot be reached from a pod; use redis://");
                }
            }
        }
        findings.0
    }

    fn check_addresses(&self, findings: &mut Findings) {
        for (path, address) in [("listen.data", self.data_address()), ("listen.operations", self.operations_address())] {
            match address.parse::<SocketAddr>() {
                Err(_) => findings.add(path, format!("expected an IP address and a port such as 127.0.0.1:3000, found {address:?}")),
                Ok(socket) if path == "listen.data" && self.auth.mode.is_none() && !socket.ip().is_loopback() => findings
                    .add(path, format!("{address} is reachable from elsewhere and calls need no credential; say `auth.mode: none` if that is meant, or listen on 127.0.0.1")),
                Ok(_) => {}
            }
        }
        for (index, host) in self.hosts.iter().enumerate() {
            if host.is_empty() || host.contains(['/', ':', ' ']) {
                findings.add(format!("hosts[{index}]"), "expected a host name without scheme and port");
            }
        }
        for (index, origin) in self.cors.origins().0.iter().enumerate() {
            let parsed = url::Url::parse(origin).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
            if parsed.is_none_or(|url| url.origin().ascii_serialization() != *origin) {
                findings.add(
                    format!("cors.origins[{index}]"),
                    "expected an origin such as https://app.example.com: scheme, host and port, no path",
                );
            }
        }
    }

    fn check_limits(&self, findings: &mut Findings) {
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
        for (path, size, least, most) in [
            ("limits.maxBodyBytes", limits.max_body_bytes(), 1, 1 << 30),
            ("limits.maxKeyBytes", limits.max_key_bytes(), 1, 512 << 20),
            ("limits.maxValueBytes", limits.max_value_bytes(), 1, 512 << 20),
            ("limits.scriptCacheBytes", limits.script_cache_bytes(), 0, 1 << 30),
            ("limits.maxHeaderBytes", limits.max_header_bytes(), 8192, 1 << 20),
            ("sockets.maxQueuedBytes", sockets.max_queued_bytes(), 4096, 1 << 30),
            ("sockets.maxTotalQueuedBytes", sockets.max_total_queued_bytes(), 4096, 1 << 40),
        ] {
            check_size(path, &size, least, most, findings);
        }
        for (path, duration) in [
            ("limits.headerTimeout", limits.header_timeout()),
            ("limits.bodyTimeout", limits.body_timeout()),
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

fn check_database(database: &Database, path: &str, findings: &mut Findings) {
    let Some(redis) = &database.redis else {
        findings.add(path, "expected the kind of database, which is `redis`");
        return;
    };
    let path = format!("{path}.redis");
    match (&redis.url, &redis.managed) {
        (None, None) => findings.add(&path, "expected `url` of a Redis that exists, or `managed: {}` for one that DBX runs"),
        (Some(_), Some(_)) => findings.add(&path, "`url` and `managed` exclude each other"),
        (Some(url), None) => {
            if let Err(message) = RedisUrl::parse(url) {
                findings.add(format!("{path}.url"), message);
            }
        }
        (None, Some(_)) => check_managed(redis, &path, findings),
    }
    for (name, _) in redis.sources().filter(|(_, source)| source.sources() != 1) {
        findings.add(format!("{path}.{name}"), "expected exactly one of `file`, `env`, `secretKeyRef`, `configMapKeyRef`");
    }
    let url = redis.url.as_deref().and_then(|url| RedisUrl::parse(url).ok());
    if redis.password_from.is_some() && url.as_ref().is_some_and(|url| url.password.is_some()) {
        findings.add(format!("{path}.passwordFrom"), "the URL holds a password already");
    }
    if redis.sentinel.is_some() && url.as_ref().is_some_and(|url| !matches!(url.address, RedisAddress::Sentinel(..))) {
        findings.add(format!("{path}.sentinel"), "the URL names no Sentinels; redis+sentinel:// does");
    }
    if let Some(tls) = &redis.tls {
        if url.is_some_and(|url| !url.tls) {
            findings.add(format!("{path}.tls"), "the URL asks for a connection without TLS; rediss:// asks for one");
        }
        if tls.certificate_from.is_some() != tls.key_from.is_some() {
            findings.add(format!("{path}.tls"), "`certificateFrom` and `keyFrom` belong together");
        }
    }
}

fn check_managed(redis: &Redis, path: &str, findings: &mut Findings) {
    let fields = [
        ("username", redis.username.is_some()),
        ("passwordFrom", redis.password_from.is_some()),
        ("tls", redis.tls.is_some()),
        ("sentinel", redis.sentinel.is_some()),
    ];
    for (field, given) in fields {
        if given {
            findings.add(format!("{path}.{field}"), "a managed Redis has credentials of its own");
        }
    }
}

/// Whether a name fits in paths and in the names of Kubernetes objects.
fn is_name(name: &str, most: usize) -> bool {
    let bytes = name.as_bytes();
    let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
    (1..=most).contains(&bytes.len()) && bytes[0].is_ascii_lowercase() && bytes.iter().all(inner) && bytes[bytes.len() - 1] != b'-'
}
