//! What a schema cannot say about a configuration. Pure, so the operator refuses the same mistakes before a pod sees them.

use std::{collections::HashSet, fmt, net::SocketAddr};

use super::{
    Database, DatabaseLimits, Duration, Forwarded, GatewayConfig, Jwt, Limits, Redis, RedisAddress, RedisUrl, Size, listen::network,
};

mod grants;

pub(crate) use grants::own_grants;

/// One mistake: where it is and what was expected there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Invalid {
    /// The setting's path, such as `databases[0].redis.url`; empty when it is the whole.
    pub path: String,
    /// What is wrong and what was expected; holds no secret.
    pub message: String,
}

impl fmt::Display for Invalid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() { formatter.write_str(&self.message) } else { write!(formatter, "{}: {}", self.path, self.message) }
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
        for (path, _) in self.sources().into_iter().filter(|(_, source)| source.sources() != 1) {
            findings.add(path, "expected exactly one of `file`, `env`, `secretKeyRef`, `configMapKeyRef`");
        }
        self.check_auth(&mut findings);
        self.check_rates(&mut findings);
        self.check_addresses(&mut findings);
        self.check_listen(&mut findings);
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
        if self.audit.file.is_some() {
            findings.add("audit.file", "has no meaning in a pod, whose files go with it; the record is in its standard output");
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

    fn check_auth(&self, findings: &mut Findings) {
        for (index, jwt) in self.auth.jwt.iter().enumerate() {
            check_jwt(jwt, &format!("auth.jwt[{index}]"), findings);
        }
        for (index, grant) in self.auth.grants.iter().enumerate() {
            let path = format!("auth.grants[{index}]");
            if grant.to.is_empty() {
                findings.add(format!("{path}.to"), "expected identities, such as `key:web`, or `*` for all that have shown a credential");
            }
            self.check_identities(&grant.to, &format!("{path}.to"), findings);
            self.check_grant(grant, &path, findings);
        }
    }

    fn check_listen(&self, findings: &mut Findings) {
        let listen = &self.listen;
        for (index, _) in listen.trusted_proxies.iter().enumerate().filter(|(_, text)| network(text).is_none()) {
            findings.add(format!("listen.trustedProxies[{index}]"), "expected a network such as 10.0.0.0/8, or an address");
        }
        for (field, given) in [("forwarded", listen.forwarded() != Forwarded::None), ("proxyProtocol", listen.proxy_protocol())] {
            if given && listen.trusted_proxies.is_empty() {
                findings.add(format!("listen.{field}"), "nobody is believed: `listen.trustedProxies` says who the proxies are");
            }
        }
        if let Some(tls) = &listen.tls {
            if tls.client_certificates.is_some() && tls.client_ca_from.is_none() {
                findings.add("listen.tls.clientCertificates", "`clientCaFrom` has to say whose certificates are believed");
            }
        }
    }

    fn check_identities(&self, names: &[String], path: &str, findings: &mut Findings) {
        const KINDS: [&str; 5] = ["key:", "jwt:", "serviceaccount:", "certificate:", "group:"];
        for (index, name) in names.iter().enumerate() {
            let known = KINDS.iter().any(|kind| name.strip_prefix(kind).is_some_and(|rest| !rest.is_empty()));
            if !known && !matches!(name.as_str(), "*" | "anonymous") {
                findings.add(
                    format!("{path}[{index}]"),
                    "expected `key:…`, `jwt:…`, `serviceaccount:…`, `certificate:…`, `group:…`, `anonymous` or `*`",
                );
            }
        }
    }

    fn check_names(&self, names: &[String], path: &str, findings: &mut Findings) {
        for (index, name) in names.iter().enumerate() {
            if !self.databases.iter().any(|database| database.name == *name) {
                findings.add(format!("{path}[{index}]"), format!("there is no database `{name}`"));
            }
        }
    }

    fn check_rates(&self, findings: &mut Findings) {
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

fn check_jwt(jwt: &Jwt, path: &str, findings: &mut Findings) {
    let of_an_issuer = [
        ("issuer", jwt.issuer.is_some()),
        ("jwksUrl", jwt.jwks_url.is_some()),
        ("jwksFrom", jwt.jwks_from.is_some()),
        ("caFrom", jwt.ca_from.is_some()),
        ("identityClaim", jwt.identity_claim.is_some()),
        ("groupsClaim", jwt.groups_claim.is_some()),
    ];
    if jwt.kubernetes.is_some() {
        for (name, _) in of_an_issuer.iter().filter(|(_, given)| *given) {
            findings.add(format!("{path}.{name}"), "is known from the cluster when `kubernetes` is given");
        }
        return;
    }
    if jwt.issuer.is_none() {
        findings.add(format!("{path}.issuer"), "expected what the tokens name as their issuer, or `kubernetes: {}`");
    }
    match (&jwt.jwks_url, &jwt.jwks_from) {
        (None, None) => findings.add(path, "expected `jwksUrl` or `jwksFrom`, where the issuer's public keys are"),
        (Some(_), Some(_)) => findings.add(path, "`jwksUrl` and `jwksFrom` exclude each other"),
        (Some(url), None) => {
            let parsed = url::Url::parse(url).ok().filter(|url| url.username().is_empty() && url.password().is_none());
            let is_local = |url: &url::Url| match url.host() {
                Some(url::Host::Domain(name)) => name == "localhost",
                Some(url::Host::Ipv4(address)) => address.is_loopback(),
                Some(url::Host::Ipv6(address)) => address.is_loopback(),
                None => false,
            };
            if !parsed.is_some_and(|url| url.scheme() == "https" || (url.scheme() == "http" && is_local(&url))) {
                findings
                    .add(format!("{path}.jwksUrl"), "expected https://host/path without credentials; http:// only for this machine itself");
            }
        }
        _ => {}
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
        ("users", !redis.users.is_empty()),
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
