//! `DbxApiKey`: a key that the operator makes, gives to an application as a Secret, and replaces on schedule.

use k8s_openapi::apimachinery::pkg::apis::meta::v1;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::period::Period;

/// The annotation whose change has the key replaced.
pub const ROTATE_AT: &str = "dbx.dev/rotate-at";

/// The key of the application's Secret that holds where the gateway is.
pub const URL: &str = "DBX_URL";
/// The key of the application's Secret that holds the token.
pub const TOKEN: &str = "DBX_TOKEN";

/// A key to a gateway: what it may do, and the Secret that the application reads it from.
#[expect(clippy::duplicated_attributes, reason = "each column says its type")]
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "dbx.dev",
    version = "v1alpha1",
    kind = "DbxApiKey",
    plural = "dbxapikeys",
    namespaced,
    shortname = "dbxkey",
    category = "dbx",
    status = "DbxApiKeyStatus",
    derive = "PartialEq",
    doc = "A key by which an application calls a gateway.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Gateway", type_ = "string", json_path = ".spec.gatewayRef.name"),
    printcolumn(name = "Secret", type_ = "string", json_path = ".spec.secretName"),
    printcolumn(name = "Id", type_ = "string", json_path = ".status.keys[0].id", description = "The key that the Secret holds"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason", priority = 1)
)]
// A field of a newer version may restrict the key: without knowing it nothing is minted.
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DbxApiKeySpec {
    /// The gateway that is called. It cannot be changed.
    pub gateway_ref: GatewayRef,
    /// What it may do: `read`, `write`, `publish`, `subscribe`, `admin`, or `all` of them; `+@category`, `-@category`; names of
    /// operations, and `-name`. They hold one after the other.
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 64)))]
    pub access: Vec<String>,
    /// Names of the gateway's databases. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 20)))]
    pub databases: Vec<String>,
    /// Globs of keys as Redis reads them, without the prefix: `cart:*`. Default: every key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(max = 1024)))]
    pub keys: Option<Vec<String>>,
    /// Globs of channels, without the prefix. Default: every channel, but none where `keys` is given without a prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(max = 1024)))]
    pub channels: Option<Vec<String>>,
    /// What is put before every key and channel on the way in, and taken off on the way out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub prefix: Option<String>,
    /// The Secret of this namespace that gets `DBX_URL` and `DBX_TOKEN`. The operator makes it, and never takes over one that
    /// exists. It cannot be changed.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub secret_name: String,
    /// How long until the key is replaced, such as `720h`. Default: never; the annotation `dbx.dev/rotate-at` has it replaced whenever it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotate_every: Option<Period>,
    /// How long the key before is still taken after it was replaced. Default: `1h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<Period>,
}

/// The gateway that a key is to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GatewayRef {
    /// The name of the gateway.
    #[schemars(length(min = 1, max = 40))]
    pub name: String,
    /// The namespace of the gateway, which has to be one that lists this one in `apiKeys.allowedNamespaces`. Default: that of the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
}

/// What the operator last saw.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DbxApiKeyStatus {
    /// The generation of `spec` that this speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What is known of it. `Accepted`: the gateway asks for credentials and takes keys of this namespace, and the Secret is nobody
    /// else's. `ResolvedRefs`: the gateway and the databases exist. `Programmed`: the Secret holds a key that every ready pod takes. `Ready`: all of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<v1::Condition>,
    /// The keys that are taken, the newest first: the one that the Secret holds, then those that it replaced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"]))]
    pub keys: Vec<KeyStatus>,
}

/// A key that is taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyStatus {
    /// Its public id, which is part of its text and of the gateway's log.
    pub id: String,
    /// Until when it is taken. Not given for the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<v1::Time>,
}

impl DbxApiKeySpec {
    /// What `overlap` is when it is not said.
    pub const DEFAULT_OVERLAP: std::time::Duration = std::time::Duration::from_secs(3600);

    /// How long the key before is still taken.
    pub fn overlap(&self) -> std::time::Duration {
        self.overlap.as_ref().map_or(Self::DEFAULT_OVERLAP, Period::value)
    }
}
