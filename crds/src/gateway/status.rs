//! What the operator says about a gateway. A condition's type, status and reason are for machines, its message for people.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the operator last saw.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DbxGatewayStatus {
    /// The generation of `spec` that this speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What is known of it. `Accepted`: the object makes sense, and nothing foreign has the names it needs. `ResolvedRefs`: what it refers
    /// to exists. `Programmed`: the API server took every object of this generation. `Available`: enough pods are ready. `Progressing`:
    /// pods are being replaced; while that does not get on, with the newest failure of a pod. `Exposed`: what leads to it from outside is
    /// in place; only when `expose` asks for it. `BackendReachable`: the databases answer. `Ready`: all of it but `Progressing`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<v1::Condition>,
    /// How many pods there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// How many pods are ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,
    /// The label selector of the pods, for `kubectl scale` and autoscalers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Where the gateway is reached inside the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The hash of the configuration that was last applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_hash: Option<String>,
    /// The gateway's version: the tag or digest of its image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Databases that answer, of all: `1/1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub databases_ready: Option<String>,
    /// The databases as the pods see them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub databases: Vec<DatabaseStatus>,
}

/// One database as the pods see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseStatus {
    /// Its name in the configuration.
    pub name: String,
    /// What it is: `redis`.
    #[serde(default)]
    pub kind: String,
    /// Whether any pod reaches it.
    pub reachable: bool,
    /// What stands in the way, in the words of a pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[doc = $doc:literal])* $word:ident,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[doc = $doc])* $word,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$word),*];

            /// The word that stands in the object.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$word => stringify!($word),)*
                }
            }

            /// What it means.
            pub fn about(self) -> &'static str {
                match self {
                    $(Self::$word => concat!($($doc),*).trim(),)*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// The types of conditions, in the order in which they are looked at for `Ready`.
    Condition {
        /// The object makes sense, and nothing foreign has the names it needs.
        Accepted,
        /// What it refers to exists.
        ResolvedRefs,
        /// The API server took every object of this generation.
        Programmed,
        /// Enough pods are ready.
        Available,
        /// Pods are being replaced.
        Progressing,
        /// What leads to it from outside the cluster is in place. Only when `expose` asks for it.
        Exposed,
        /// The databases answer.
        BackendReachable,
        /// All of it.
        Ready,
    }
}

words! {
    /// The reasons of conditions of gateways and keys. Each has a heading in the troubleshooting page.
    Reason {
        /// The object makes sense.
        Accepted,
        /// `spec.config` has mistakes; the message has their paths. Nothing was changed.
        InvalidConfig,
        /// The object cannot be read at all: it was stored past the schema.
        InvalidObject,
        /// An object that the gateway needs exists and belongs to somebody else. Nothing was changed.
        NameConflict,
        /// Everything referred to exists.
        ResolvedRefs,
        /// A Secret that the configuration names does not exist.
        SecretNotFound,
        /// A ConfigMap that the configuration names does not exist.
        ConfigMapNotFound,
        /// The operator may not look at something that the configuration names.
        RefNotPermitted,
        /// Something that was asked for needs an API that the cluster does not have.
        ApiMissing,
        /// `autoscaling.callsInFlight` needs the API of custom metrics, which the cluster does not have.
        MetricsApiMissing,
        /// The API server took every object.
        Programmed,
        /// Nothing of this generation was applied, since it was not accepted.
        NotAccepted,
        /// The API server refused an object, or could not be reached.
        ApplyFailed,
        /// `spec.paused` is true.
        Paused,
        /// Enough pods are ready.
        Available,
        /// Too few pods are ready.
        NotAvailable,
        /// The Deployment has no status yet.
        NotObserved,
        /// Every pod is of the current generation and ready.
        Complete,
        /// Pods are being started or replaced.
        RollingOut,
        /// The version of a newer operator waits until fewer gateways are rolled.
        Queued,
        /// A new pod does not become ready; the message says which and why.
        PodFailing,
        /// New pods did not become ready in time; the old ones keep serving.
        DeadlineExceeded,
        /// The Ingress exists, and Gateways have taken the HTTPRoute.
        Exposed,
        /// No Gateway has said whether it takes the HTTPRoute.
        RouteNotObserved,
        /// A Gateway does not take the HTTPRoute.
        RouteNotAccepted,
        /// Every database answers.
        Reachable,
        /// A database does not answer.
        Unreachable,
        /// No pod has said how its databases are.
        NoAnswer,
        /// The gateway of a key does not exist.
        GatewayNotFound,
        /// The gateway does not take keys of this namespace.
        NamespaceNotAllowed,
        /// The gateway asks for no credentials, so a key would mean nothing.
        AuthNotRequired,
        /// The gateway has no database of a name that the key has.
        DatabaseNotFound,
        /// The Secret that a key is to be written to exists and belongs to somebody else.
        SecretConflict,
        /// A new key waits until every ready pod of the gateway takes it.
        Loading,
        /// The gateway serves; the key can be used.
        Ready,
    }
}

impl Reason {
    /// Those that a condition of a `DbxApiKey` may have.
    pub const OF_KEYS: &'static [Self] = &[
        Self::Accepted,
        Self::InvalidObject,
        Self::ResolvedRefs,
        Self::Programmed,
        Self::NotAccepted,
        Self::ApplyFailed,
        Self::GatewayNotFound,
        Self::NamespaceNotAllowed,
        Self::AuthNotRequired,
        Self::DatabaseNotFound,
        Self::SecretConflict,
        Self::Loading,
        Self::Ready,
    ];

    /// Whether a condition of a `DbxGateway` may have it.
    pub const fn is_of_gateways(self) -> bool {
        !matches!(
            self,
            Self::GatewayNotFound
                | Self::NamespaceNotAllowed
                | Self::AuthNotRequired
                | Self::DatabaseNotFound
                | Self::SecretConflict
                | Self::Loading
        )
    }
}

/// A condition's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "Kubernetes' own words")]
pub enum State {
    True,
    False,
    Unknown,
}

impl State {
    /// The word that stands in the object.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl DbxGatewayStatus {
    /// The condition of a type.
    pub fn condition(&self, condition: Condition) -> Option<&v1::Condition> {
        self.conditions.iter().find(|found| found.type_ == condition.as_str())
    }
}
