//! References to secrets: where one is, never what it is.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a secret is read from: exactly one of its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretSource {
    /// A file's path. Not on Kubernetes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub file: Option<String>,
    /// An environment variable's name. Not on Kubernetes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub env: Option<String>,
    /// A key of a Secret in the gateway's namespace, mounted at `$DBX_SECRETS_DIR/<name>/<key>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyRef>,
    /// A key of a ConfigMap in the gateway's namespace, mounted like a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyRef>,
}

/// A key of a Secret or ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyRef {
    /// The object's name.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
    /// The key inside it.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

impl KeyRef {
    /// The file that holds it, below the directory where Secrets and ConfigMaps are mounted.
    pub fn path(&self, secrets_dir: &std::path::Path) -> PathBuf {
        secrets_dir.join(&self.name).join(&self.key)
    }
}

impl SecretSource {
    /// How many of the sources are given.
    pub(super) fn sources(&self) -> usize {
        [self.file.is_some(), self.env.is_some(), self.secret_key_ref.is_some(), self.config_map_key_ref.is_some()]
            .into_iter()
            .filter(|given| *given)
            .count()
    }
}
