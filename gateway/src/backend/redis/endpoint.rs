//! Where a Redis is, how to log in there, and what of a connection to trust.

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use dbx_crds::config::{self, Host, RedisAddress, RedisUrl, SecretSource};

use crate::config::secret::{self, Text};

/// Where a Redis is and how to log in.
pub struct Endpoint {
    /// Its address.
    pub(super) address: RedisAddress,
    /// What a connection is encrypted with.
    pub(super) tls: Option<Tls>,
    /// Who the gateway is there.
    pub(super) credentials: Credentials,
    /// Who it is to the Sentinels.
    pub(super) sentinel: Credentials,
    /// The database's index.
    pub(super) database: u32,
    /// What connections are called in `CLIENT LIST`.
    pub(super) client_name: String,
    /// How long connecting may take, greeting included.
    pub(super) connect_timeout: Duration,
    /// Only to read from a node that is a replica.
    pub(super) reads_replica: bool,
    /// How often another server has become the primary: connections from before are of no use.
    pub(super) moves: AtomicU64,
}

/// Who the gateway is to a server.
#[derive(Clone, Default)]
pub(super) struct Credentials {
    /// The ACL user.
    pub(super) username: Option<String>,
    /// Without one, nobody logs in.
    pub(super) password: Option<Text>,
}

/// What a connection over TLS believes and shows, all in PEM.
#[derive(Clone, Default)]
pub(super) struct Tls {
    /// The CA certificates; without any, the system's.
    pub(super) ca: Option<Text>,
    /// The client certificate and its private key.
    pub(super) certificate: Option<(Text, Text)>,
    /// The name that the server's certificate is for, when it is not the host's.
    pub(super) server_name: Option<String>,
}

impl Endpoint {
    /// Puts together what the configuration says of a Redis at a URL.
    pub fn new(redis: &config::Redis, url: RedisUrl, secrets_dir: &Path, client_name: String) -> Self {
        let text = |source: &SecretSource| secret::text(source.clone(), secrets_dir);
        let tls = redis.tls.clone().unwrap_or_default();
        let sentinel = redis.sentinel.clone().unwrap_or_default();
        let given = url.password.map(|password| -> Text { Arc::new(move || Ok(password.clone())) });
        Self {
            address: url.address,
            tls: url.tls.then(|| Tls {
                ca: tls.ca_from.as_ref().map(text),
                certificate: tls.certificate_from.as_ref().map(text).zip(tls.key_from.as_ref().map(text)),
                server_name: tls.server_name,
            }),
            credentials: Credentials {
                username: redis.username.clone().or(url.username),
                password: redis.password_from.as_ref().map(text).or(given),
            },
            sentinel: Credentials { username: sentinel.username, password: sentinel.password_from.as_ref().map(text) },
            database: url.database,
            client_name,
            connect_timeout: redis.connect_timeout().value(),
            reads_replica: false,
            moves: AtomicU64::new(0),
        }
    }
}

impl Endpoint {
    /// The same server, as another ACL user.
    pub fn of(&self, user: &config::BackendUser, secrets_dir: &Path) -> Self {
        let password = Some(secret::text(user.password_from.clone(), secrets_dir));
        let credentials = Credentials { username: Some(user.name.clone()), password };
        Self { credentials, ..self.again() }
    }

    /// Another server, to be reached in the same way.
    pub(super) fn at(&self, host: Host) -> Self {
        Self { address: RedisAddress::Tcp(host), sentinel: Credentials::default(), database: 0, ..self.again() }
    }

    fn again(&self) -> Self {
        Self {
            address: self.address.clone(),
            tls: self.tls.clone(),
            credentials: self.credentials.clone(),
            sentinel: self.sentinel.clone(),
            database: self.database,
            client_name: self.client_name.clone(),
            connect_timeout: self.connect_timeout,
            reads_replica: false,
            moves: AtomicU64::new(0),
        }
    }
}
