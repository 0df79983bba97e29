//! What a schema cannot say about a configuration. Pure, so the operator refuses the same mistakes before a pod sees them.

use std::{collections::HashSet, fmt, net::SocketAddr};

use self::database::{check_child, check_database};
use super::{Forwarded, GatewayConfig, RESERVED, RedisAddress, RedisUrl, listen::network};

mod auth;
mod database;
mod grants;
mod limits;

pub(crate) use grants::own_grants;

/// Files of keys beside the one that the operator adds.
const MAX_KEY_FILES: usize = 7;

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
            if RESERVED.contains(&database.name.as_str()) {
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

    /// Every mistake of a configuration that a gateway reads: those of [`Self::validate`], and what only the operator can do.
    /// What the operator renders for its pods has none of it.
    pub fn validate_in_gateway(&self) -> Vec<Invalid> {
        let mut findings = Findings(self.validate());
        for (index, database) in self.databases.iter().enumerate() {
            if let Some(managed) = database.redis.as_ref().and_then(|redis| redis.managed.as_ref()) {
                check_child(managed, &format!("databases[{index}]"), &mut findings);
            }
        }
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
        if self.auth.keys_from.len() > MAX_KEY_FILES {
            findings.add("auth.keysFrom", format!("expected at most {MAX_KEY_FILES}, since the operator adds one"));
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
        if let Some(tls) = &listen.tls
            && tls.client_certificates.is_some()
            && tls.client_ca_from.is_none()
        {
            findings.add("listen.tls.clientCertificates", "`clientCaFrom` has to say whose certificates are believed");
        }
    }
}

/// Whether a name fits in paths and in the names of Kubernetes objects.
fn is_name(name: &str, most: usize) -> bool {
    let bytes = name.as_bytes();
    let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
    (1..=most).contains(&bytes.len()) && bytes[0].is_ascii_lowercase() && bytes.iter().all(inner) && bytes[bytes.len() - 1] != b'-'
}
