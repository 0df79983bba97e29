//! The gateway's configuration: what its YAML file holds, what environment and flags override, what
//! `DbxGateway.spec.config` is. Every setting is optional; its default is the literal beside it. A secret is a reference,
//! never a value, so a configuration may be printed, hashed and put in a ConfigMap.

mod auth;
mod database_limits;
mod listen;
mod managed;
mod quantity;
mod rates;
mod redis;
mod secret;
mod sources;
mod tls;
mod url;
mod validate;

pub use auth::{Auth, AuthMode, Effect, Grant, Jwt, Kubernetes};
pub use database_limits::DatabaseLimits;
pub use listen::{Forwarded, Listen};
pub use managed::{Amounts, Managed, ManagedResources, MaxmemoryPolicy, Persistence};
pub use quantity::{Duration, Size};
pub use rates::{OnFailure, Per, RateLimit};
pub use redis::{BackendUser, DatabaseTls, Redis, Sentinel};
pub use secret::{KeyRef, SecretSource};
pub use tls::{ClientCertificates, ListenTls};
pub use url::{Host, RedisAddress, RedisUrl};
pub use validate::Invalid;
pub(crate) use validate::own_grants;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Declares a section: each field an `Option` in the file, with a method of its name that gives the value in force.
macro_rules! section {
    ($(#[$meta:meta])* $name:ident { $($(#[doc = $doc:literal])* $(#[schemars($($schema:tt)*)])? $field:ident: $type:ty = $default:literal;)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub struct $name {
            $(
                $(#[doc = $doc])*
                $(#[schemars($($schema)*)])?
                #[doc = concat!("Default: `", $default, "`.")]
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $field: Option<$type>,
            )*
        }

        impl $name {
            $(
                $(#[doc = $doc])*
                pub fn $field(&self) -> $type {
                    self.$field.clone().unwrap_or_else(|| $default.into())
                }
            )*

            /// The same section with every default written out.
            #[must_use]
            pub fn effective(&self) -> Self {
                Self { $($field: Some(self.$field()),)* }
            }
        }
    };
}

/// The configuration of one gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GatewayConfig {
    /// The databases this gateway serves, each under `/api/v1/{name}`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub databases: Vec<Database>,
    /// Who may call.
    #[serde(default, skip_serializing_if = "is_default")]
    pub auth: Auth,
    /// How much each may do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub rate_limits: Vec<RateLimit>,
    /// A record of who did what.
    #[serde(default, skip_serializing_if = "is_default")]
    pub audit: Audit,
    /// Addresses the gateway listens on, and what stands in front of it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub listen: Listen,
    /// Host names, besides `localhost` and IP addresses, that a request's `Host` may carry while no credential is
    /// configured. It is what stops a web page from reaching the gateway by a name of its own (DNS rebinding).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    pub hosts: Vec<String>,
    /// Browsers' cross-origin calls.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cors: Cors,
    /// What bounds everything a client can make grow.
    #[serde(default, skip_serializing_if = "is_default")]
    pub limits: Limits,
    /// WebSockets, event streams, and what waits.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sockets: Sockets,
    /// How the gateway stops.
    #[serde(default, skip_serializing_if = "is_default")]
    pub drain: Drain,
    /// What is logged, and how.
    #[serde(default, skip_serializing_if = "is_default")]
    pub log: Log,
    /// Threads that serve calls, each with its own listener and backend connections. Default: the CPU limit rounded up,
    /// else the number of CPUs but at most 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 256))]
    pub workers: Option<i32>,
}

/// Names that no database can have, since the API has these words in their place.
pub const RESERVED: &[&str] = &["keys", "whoami", "ws"];

/// One database: its name, what it is, and what bounds the calls to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Database {
    /// Its name in paths: lower-case letters, digits and `-`, at most 20 characters.
    #[schemars(length(min = 1, max = 20), regex(pattern = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// A Redis, or a server that speaks its protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redis: Option<Redis>,
    /// What bounds the calls to it, where that is not what bounds those to the others.
    #[serde(default, skip_serializing_if = "is_default")]
    pub limits: DatabaseLimits,
}

section! {
    /// Browsers' cross-origin calls.
    Cors {
        /// Origins whose pages may call, such as `https://app.example.com`.
        #[schemars(length(max = 64), inner(length(min = 1, max = 512)))]
        origins: Origins = "";
    }
}

section! {
    /// What bounds everything a client can make grow. Each has its own error.
    Limits {
        /// Bytes of a request's body.
        max_body_bytes: Size = "16MiB";
        /// Bytes of one key.
        max_key_bytes: Size = "64KiB";
        /// Bytes of one value or other argument.
        max_value_bytes: Size = "16MiB";
        /// Bytes of one result as the database sends it.
        max_result_bytes: Size = "64MiB";
        /// Bytes of scripts, loaded through the gateway, that are kept for each database for when its server has lost them.
        script_cache_bytes: Size = "1MiB";
        /// Items of one result: fields, members, elements, entries, keys. Where a call does not say itself how many it wants, the
        /// length is asked for before it is sent. `0` asks for nothing and refuses nothing.
        #[schemars(range(min = 0, max = 1_000_000_000))]
        max_result_items: i32 = 0;
        /// Bytes of a request's line and headers.
        max_header_bytes: Size = "16KiB";
        /// Bytes of a request's path and query.
        max_url_bytes: Size = "8KiB";
        /// Calls in one pipeline.
        #[schemars(range(min = 1, max = 100_000))]
        max_pipeline_calls: i32 = 1000;
        /// Calls to one database being served at once; a pipeline counts each of its calls. Each database has room of its
        /// own, so that one that hangs takes none from the others.
        #[schemars(range(min = 1, max = 1_000_000))]
        max_in_flight: i32 = 10000;
        /// Calls of one identity being served at once, to all databases together. `0` is no limit of its own: who nobody has told
        /// apart is one identity, for which this would be a limit for everybody.
        #[schemars(range(min = 0, max = 1_000_000))]
        max_in_flight_per_identity: i32 = 0;
        /// Open WebSockets and event streams of one identity. `0` is no limit of its own.
        #[schemars(range(min = 0, max = 1_000_000))]
        max_sockets_per_identity: i32 = 0;
        /// Open client connections of the whole gateway.
        #[schemars(range(min = 1, max = 1_000_000))]
        max_connections: i32 = 10000;
        /// Open connections of one client address, or of one /64 network of IPv6. `0` is no limit: behind a proxy that does not
        /// speak the PROXY protocol, all connections come from one address.
        #[schemars(range(min = 0, max = 1_000_000))]
        max_connections_per_address: i32 = 0;
        /// Connections to a database that each worker keeps for calls that cannot share one: transactions, conditional
        /// changes, values over 1 MiB.
        #[schemars(range(min = 1, max = 10_000))]
        max_own_connections: i32 = 16;
        /// How long a call may take when it does not say (`DBX-Timeout`).
        call_timeout: Duration = "5s";
        /// The longest that a call may ask for.
        max_call_timeout: Duration = "60s";
        /// How long the TLS handshake of a connection may take, and the header of the PROXY protocol.
        handshake_timeout: Duration = "10s";
        /// How long a client may take to send a request's line and headers. It is from their first byte on; for the first request of
        /// a connection, from the beginning of that.
        header_timeout: Duration = "10s";
        /// How long a connection may stay silent between requests. What is in front of the gateway should give up earlier.
        keep_alive_timeout: Duration = "75s";
        /// How long a client may take to send a request's body.
        body_timeout: Duration = "30s";
        /// How long a client may take nothing of an answer that is being written.
        write_timeout: Duration = "30s";
        /// How long what became of a change with an `Idempotency-Key` is kept.
        idempotency_window: Duration = "24h";
    }
}

section! {
    /// WebSockets, event streams, and what waits for something to happen.
    Sockets {
        /// Calls of one WebSocket being served at once. Beyond it the gateway reads no more from the socket until one is
        /// answered.
        #[schemars(range(min = 1, max = 100_000))]
        max_calls: i32 = 256;
        /// Bytes that wait for one client to read them.
        max_queued_bytes: Size = "1MiB";
        /// Bytes that wait for all clients of the gateway together.
        max_total_queued_bytes: Size = "64MiB";
        /// Subscriptions and sessions of one WebSocket.
        #[schemars(range(min = 1, max = 100_000))]
        max_subscriptions: i32 = 1000;
        /// Connections to a database that each worker has for what keeps one busy for long: blocking calls, sessions, streams
        /// that are followed.
        #[schemars(range(min = 1, max = 10_000))]
        max_waiting_connections: i32 = 64;
        /// How long a blocking call over plain HTTP may wait; one that asks for longer is answered by then.
        max_wait: Duration = "30s";
        /// How often an idle WebSocket is asked whether it still lives; an event stream gets a comment as often.
        ping_interval: Duration = "20s";
        /// A WebSocket that has been silent for this long is closed.
        idle_timeout: Duration = "60s";
    }
}

section! {
    /// How the gateway stops: on SIGTERM it reports itself not ready, for `propagation` goes on accepting and answers
    /// `Connection: close`, then stops accepting and finishes what runs within `timeout`.
    Drain {
        /// How long load balancers may need to notice.
        propagation: Duration = "5s";
        /// How long running calls may need to finish.
        timeout: Duration = "60s";
    }
}

section! {
    /// A record of who did what, a JSON object a line.
    Audit {
        /// What is recorded: nothing, calls that were `denied` (and credentials that were refused), those and the calls of
        /// administrators (`admin`), or `all` calls.
        calls: AuditCalls = "none";
        /// The file it is written to; `-` is standard output. Not on Kubernetes, where it is standard output.
        #[schemars(length(min = 1, max = 4096))]
        file: String = "-";
        /// A file of this size is put aside and a new one begun.
        max_file_bytes: Size = "64MiB";
        /// How many that were put aside are kept.
        #[schemars(range(min = 0, max = 1000))]
        max_files: i32 = 8;
        /// How keys are shown: not at all (`none`), by the first half of their SHA-256 (`hash`), or as they are (`plain`).
        keys: AuditKeys = "hash";
    }
}

/// Which calls are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AuditCalls {
    /// None.
    None,
    /// Those that were refused for want of a right or a credential.
    Denied,
    /// Those, and the calls of administrators.
    Admin,
    /// All.
    All,
}

impl From<&'static str> for AuditCalls {
    fn from(name: &'static str) -> Self {
        match name {
            "denied" => Self::Denied,
            "admin" => Self::Admin,
            "all" => Self::All,
            _ => Self::None,
        }
    }
}

/// How keys are shown in the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AuditKeys {
    /// Not at all.
    None,
    /// By a hash.
    Hash,
    /// As they are.
    Plain,
}

impl From<&'static str> for AuditKeys {
    fn from(name: &'static str) -> Self {
        match name {
            "none" => Self::None,
            "plain" => Self::Plain,
            _ => Self::Hash,
        }
    }
}

section! {
    /// What is logged, and how.
    Log {
        /// `json` for machines, `human` for people.
        format: LogFormat = "json";
        /// The lowest level that is logged.
        level: LogLevel = "info";
        /// Log a line for each request.
        access: bool = false;
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// Coloured text.
    Human,
}

impl From<&'static str> for LogFormat {
    fn from(name: &'static str) -> Self {
        if name == "human" { Self::Human } else { Self::Json }
    }
}

/// The lowest level that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// The level's lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl From<&'static str> for LogLevel {
    fn from(name: &'static str) -> Self {
        match name {
            "error" => Self::Error,
            "warn" => Self::Warn,
            "debug" => Self::Debug,
            "trace" => Self::Trace,
            _ => Self::Info,
        }
    }
}

/// A list of origins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Origins(pub Vec<String>);

impl From<&'static str> for Origins {
    fn from(_: &'static str) -> Self {
        Self(Vec::new())
    }
}

impl GatewayConfig {
    /// Every setting as a JSON schema without references, so that a reader can walk it.
    #[must_use]
    pub fn schema() -> schemars::Schema {
        let settings = schemars::generate::SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
        settings.into_generator().into_root_schema_for::<Self>()
    }

    /// The same configuration with every default written out and no password in a URL: what `dbx-gateway check` prints.
    #[must_use]
    pub fn effective(&self) -> Self {
        let mut effective = self.clone();
        effective.listen.data = Some(self.data_address());
        effective.listen.operations = Some(self.operations_address());
        effective.audit = self.audit.effective();
        effective.listen.forwarded = Some(self.listen.forwarded());
        effective.listen.proxy_protocol = Some(self.listen.proxy_protocol());
        if let Some(tls) = effective.listen.tls.as_mut().filter(|tls| tls.client_ca_from.is_some()) {
            tls.client_certificates = Some(tls.client_certificates());
        }
        effective.cors = self.cors.effective();
        effective.limits = self.limits.effective();
        effective.sockets = self.sockets.effective();
        effective.drain = self.drain.effective();
        effective.log = self.log.effective();
        for redis in effective.databases.iter_mut().filter_map(|database| database.redis.as_mut()) {
            redis.connect_timeout = Some(redis.connect_timeout());
            redis.url = redis.url.as_deref().map(RedisUrl::redact);
        }
        effective
    }

    /// The data listener's address.
    pub fn data_address(&self) -> String {
        self.listen.data.clone().unwrap_or_else(|| match self.auth.mode {
            Some(_) => "0.0.0.0:3000".into(),
            None => "127.0.0.1:3000".into(),
        })
    }

    /// The operations listener's address.
    pub fn operations_address(&self) -> String {
        self.listen.operations.clone().unwrap_or_else(|| {
            let data = self.data_address();
            let host = data.rsplit_once(':').map_or(data.as_str(), |(host, _)| host);
            format!("{host}:9090")
        })
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests;
