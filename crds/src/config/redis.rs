//! A database of the kind `redis`: where it is, who the gateway is to it, or that DBX runs it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Duration, Managed, SecretSource};

/// A Redis database: `url` of one that exists, or `managed` for one that DBX runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Redis {
    /// `redis://host:port/db`, `rediss://host:port/db` over TLS, `redis+unix:///path?db=0`,
    /// `redis+sentinel://host:port,host:port/primary/db`, or `redis+cluster://host:port,host:port` (`rediss+…` over TLS). A password has no place here: see `passwordFrom`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub url: Option<String>,
    /// Run a Redis for this gateway: on Kubernetes as a StatefulSet, elsewhere as a child process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed: Option<Managed>,
    /// The ACL user to log in as. Default: the server's `default` user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub username: Option<String>,
    /// Where the password is read from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_from: Option<SecretSource>,
    /// Other ACL users, on whose connections the calls of some identities go out (`backendUser` of a grant).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub users: Vec<BackendUser>,
    /// What a connection over TLS believes and shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<DatabaseTls>,
    /// Who the gateway is to the Sentinels, when they want to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentinel: Option<Sentinel>,
    /// How long connecting may take, greeting included, before it counts as failed. Default: `2s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_timeout: Option<Duration>,
}

impl Redis {
    /// How long connecting may take.
    pub fn connect_timeout(&self) -> Duration {
        self.connect_timeout.clone().unwrap_or_else(|| "2s".into())
    }
}

/// Another ACL user of a database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackendUser {
    /// The name of the user, by which a grant's `backendUser` means it.
    #[schemars(length(min = 1, max = 256))]
    pub name: String,
    /// Where its password is read from.
    pub password_from: SecretSource,
}

/// Who the gateway is to Sentinels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sentinel {
    /// The ACL user to log in as. Default: their `default` user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub username: Option<String>,
    /// Where the password is read from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_from: Option<SecretSource>,
}

/// TLS on the way to a database. Its files are read again for each connection, so new ones need no restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DatabaseTls {
    /// The CA certificates, PEM, of which one has to have signed the server's certificate. Default: those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_from: Option<SecretSource>,
    /// The client certificate, PEM, followed by those between it and its CA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_from: Option<SecretSource>,
    /// The client certificate's private key, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_from: Option<SecretSource>,
    /// The name that the server's certificate has to be for, which is sent to the server as well (SNI). Default: the URL's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub server_name: Option<String>,
}
