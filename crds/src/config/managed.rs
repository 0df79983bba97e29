//! A Redis that DBX runs. The operator makes all of it true; without the operator it is a child process that keeps nothing,
//! and takes no settings.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A Redis that DBX runs: one server, for development, caches and small services.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Managed {
    /// Size of the volume its data lives on, as a Kubernetes quantity. It may grow if the StorageClass can do that; it cannot shrink.
    /// Kubernetes only. Default: `1Gi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), regex(pattern = r"^[0-9]+(Mi|Gi|Ti)$"))]
    pub storage: Option<String>,
    /// Delete the volume together with the gateway. Otherwise it stays, and a gateway of the same name finds it again. Kubernetes only.
    /// Default: `false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_storage: Option<bool>,
    /// The tag of the image, such as `7.2`. Another one replaces the pod and keeps the volume. Kubernetes only.
    /// Default: that of the operator's own setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$"))]
    pub version: Option<String>,
    /// What it asks for and may use. Kubernetes only. Default: 50m of a CPU and 64Mi of memory are set aside, without a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ManagedResources>,
    /// What happens when the data has grown to 75 % of `resources.limits.memory`, which it needs. `noeviction` refuses writes, so that
    /// nothing is lost silently; the others of Redis delete keys. Kubernetes only. Default: `noeviction`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maxmemory_policy: Option<MaxmemoryPolicy>,
    /// What of the data outlives the pod. `aof`: every change is on disk within a second. `rdb`: snapshots, so a crash loses minutes.
    /// `none`: no volume, and a restart begins empty. It cannot be changed later. Kubernetes only. Default: `aof`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistence: Option<Persistence>,
}

impl Managed {
    /// Size of the volume when none is said.
    pub const DEFAULT_STORAGE: &'static str = "1Gi";
    /// The least limit of memory: an empty server takes several MiB already.
    pub const MIN_MEMORY: &'static str = "16Mi";
    /// How much of the limit is for data. The rest is for the copies of pages that change while a child process writes the data
    /// to disk, for the buffers of clients and the append-only file, and for what fragments: a server that goes beyond the limit
    /// is killed, while one that goes beyond `maxmemory` says so to whom it concerns.
    const DATA_PERCENT: u64 = 75;

    /// Size of the volume.
    pub fn storage(&self) -> &str {
        self.storage.as_deref().unwrap_or(Self::DEFAULT_STORAGE)
    }

    /// What of the data outlives the pod.
    pub fn persistence(&self) -> Persistence {
        self.persistence.unwrap_or_default()
    }

    /// What happens when there is no more room for data.
    pub fn maxmemory_policy(&self) -> MaxmemoryPolicy {
        self.maxmemory_policy.unwrap_or_default()
    }

    /// The limit of memory, as it is written.
    pub fn memory_limit(&self) -> Option<&str> {
        self.resources.as_ref()?.limits.as_ref()?.memory.as_deref()
    }

    /// How many bytes the data may take, when there is a limit to derive it from.
    pub fn maxmemory(&self) -> Option<u64> {
        self.memory_limit().and_then(memory).map(|bytes| bytes / 100 * Self::DATA_PERCENT)
    }
}

/// What a managed Redis asks for and may use, as in a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ManagedResources {
    /// What the scheduler sets aside. Default: what `limits` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<Amounts>,
    /// What it may not exceed. The limit of memory sets `maxmemory` of the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Amounts>,
}

/// Amounts of what a node has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Amounts {
    /// CPUs, such as `500m` or `2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), regex(pattern = r"^[0-9]+(m|\.[0-9]{1,3})?$"))]
    pub cpu: Option<String>,
    /// Memory, such as `256Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), regex(pattern = r"^[0-9]+(Ki|Mi|Gi|Ti|k|M|G|T)?$"))]
    pub memory: Option<String>,
}

/// What happens to a write when there is no more room for data: the words of Redis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MaxmemoryPolicy {
    /// It is refused.
    #[default]
    Noeviction,
    /// Keys go that were not used for longest.
    AllkeysLru,
    /// Keys go that are used least often.
    AllkeysLfu,
    /// Any keys go.
    AllkeysRandom,
    /// Of the keys with a time to live, those go that were not used for longest.
    VolatileLru,
    /// Of the keys with a time to live, those go that are used least often.
    VolatileLfu,
    /// Of the keys with a time to live, any go.
    VolatileRandom,
    /// Of the keys with a time to live, those go whose end is nearest.
    VolatileTtl,
}

impl MaxmemoryPolicy {
    /// Its name in the server's configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Noeviction => "noeviction",
            Self::AllkeysLru => "allkeys-lru",
            Self::AllkeysLfu => "allkeys-lfu",
            Self::AllkeysRandom => "allkeys-random",
            Self::VolatileLru => "volatile-lru",
            Self::VolatileLfu => "volatile-lfu",
            Self::VolatileRandom => "volatile-random",
            Self::VolatileTtl => "volatile-ttl",
        }
    }
}

/// What of the data of a managed Redis outlives its pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Persistence {
    /// Nothing, and there is no volume.
    None,
    /// Snapshots: when it is stopped, and every minute to hour depending on how much changes. A crash loses what came after the last.
    Rdb,
    /// A log of every change, written to disk every second. A crash of the node loses a second.
    #[default]
    Aof,
}

impl Persistence {
    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Rdb => "rdb",
            Self::Aof => "aof",
        }
    }
}

/// The bytes of a quantity of memory.
pub(super) fn memory(text: &str) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|digit: char| digit.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit: u64 = match unit {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}
