//! `DbxGateway`: a gateway as Kubernetes sees it. Every field here does something; there is no patch of what the operator
//! makes, since who may create a gateway may already run pods as a ServiceAccount of its namespace.

pub mod pods;
mod rules;
mod status;
mod surroundings;

pub use rules::{RULES, crd};
pub use status::{Condition, DatabaseStatus, DbxGatewayStatus, Reason, State};
pub use surroundings::{
    Autoscaling, Certificate, DisruptionBudget, EnvironmentVariable, Expose, HttpRoute, Ingress, IssuerRef, Monitoring, Mount, Named,
    NetworkPolicy, ParentRef, ServiceAccount, ServiceMonitor,
};

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{config::GatewayConfig, schema};

/// The annotation whose change makes the operator look at a gateway again.
pub const RECONCILE_AT: &str = "dbx.dev/reconcile-at";

/// A gateway to databases: its configuration, and how it runs.
#[expect(clippy::duplicated_attributes, reason = "each column says its type")]
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "dbx.dev",
    version = "v1alpha1",
    kind = "DbxGateway",
    plural = "dbxgateways",
    namespaced,
    shortname = "dbxgw",
    category = "dbx",
    status = "DbxGatewayStatus",
    derive = "PartialEq",
    doc = "A gateway that puts an HTTP API in front of databases.",
    scale(spec_replicas_path = ".spec.replicas", status_replicas_path = ".status.replicas", label_selector_path = ".status.selector"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".status.readyReplicas", description = "Pods that are ready"),
    printcolumn(name = "Databases", type_ = "string", json_path = ".status.databasesReady", description = "Databases that answer, of all"),
    printcolumn(name = "URL", type_ = "string", json_path = ".status.url"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason", priority = 1),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version", priority = 1)
)]
#[serde(rename_all = "camelCase")]
pub struct DbxGatewaySpec {
    /// The gateway's configuration: what its own file holds. Here `auth.mode` has to be said, `listen.data` and `listen.operations` are
    /// set by the operator, and a secret is a `secretKeyRef` or a `configMapKeyRef`.
    pub config: GatewayConfig,
    /// How many pods. Written out, it can be scaled with `kubectl scale`. Default: `1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: Option<i32>,
    /// How many pods, by what they have to do, instead of `replicas`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<Autoscaling>,
    /// The gateway's image. Default: the one of the operator's release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Image>,
    /// What each pod asks for and may use. Default: requests of 50m CPU and 32Mi memory, no limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Labels that a node has to have for pods to run on it. Default: any node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = { "type": "string", "maxLength": 63 }))]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of nodes that pods bear, as in a pod. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub tolerations: Vec<Verbatim>,
    /// Where pods have to run or would rather run, as in a pod. They are spread over nodes as far as that goes in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Verbatim>,
    /// The PriorityClass of the pods. Default: the cluster's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class_name: Option<String>,
    /// Annotations of the pods, besides those that the operator sets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = { "type": "string", "maxLength": 4096 }))]
    pub pod_annotations: BTreeMap<String, String>,
    /// Labels of the pods, besides those that the operator sets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = { "type": "string", "maxLength": 63 }))]
    pub pod_labels: BTreeMap<String, String>,
    /// The identity of the pods, by which clouds and the API server know them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<ServiceAccount>,
    /// More variables of the gateway's environment, for libraries and clouds; the gateway itself is set by `config`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub extra_env: Vec<EnvironmentVariable>,
    /// More volumes of the pods, as in a pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub extra_volumes: Vec<Named>,
    /// More mounts of the gateway's container, as in a pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub extra_volume_mounts: Vec<Mount>,
    /// The Service in front of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    /// Ways from outside the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expose: Option<Expose>,
    /// A certificate that cert-manager issues and renews.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Certificate>,
    /// How many pods a node drain may take at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disruption_budget: Option<DisruptionBudget>,
    /// Who may reach the pods, and what they may reach. Default: no NetworkPolicy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_policy: Option<NetworkPolicy>,
    /// What collects the gateway's metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitoring: Option<Monitoring>,
    /// Which namespaces may make keys to this gateway, besides its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_keys: Option<ApiKeys>,
    /// Change nothing until this is `false` again, except which keys are taken: those that are deleted or replaced are refused
    /// all the same. What runs goes on running. Default: `false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
}

/// Who may make keys to a gateway, with a `DbxApiKey`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeys {
    /// Namespaces, besides the gateway's own, whose keys are taken; `*` for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 63)))]
    pub allowed_namespaces: Vec<String>,
}

/// An image: a repository, and a tag or a digest of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// Registry and path of the image. Default: those of the operator's setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), regex(pattern = r"^[a-zA-Z0-9][-._/:a-zA-Z0-9]*$"))]
    pub repository: Option<String>,
    /// The tag of the image. With a tag or a digest, an upgrade of the operator does not change the gateway's version. Default: that of
    /// the operator's setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[a-zA-Z0-9_][-._a-zA-Z0-9]*$"))]
    pub tag: Option<String>,
    /// The digest of the image, instead of a tag: `sha256:` and 64 digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 160), regex(pattern = r"^sha(256|512):[a-f0-9]{64,128}$"))]
    pub digest: Option<String>,
    /// When nodes pull it. Default: the operator's setting, `IfNotPresent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_policy: Option<PullPolicy>,
    /// Secrets of the gateway's namespace that pulling needs, besides those of the operator's setting.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub pull_secrets: Vec<NamedRef>,
}

/// When nodes pull an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "Kubernetes' own words")]
pub enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

/// A Secret of the gateway's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NamedRef {
    /// The name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// What a pod asks for and may use: `cpu`, `memory` and others, as quantities in quotes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Resources {
    /// What the scheduler sets aside for each pod: `cpu`, `memory` and others.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16, "additionalProperties" = { "type": "string", "maxLength": 32 }))]
    pub requests: BTreeMap<String, String>,
    /// What each pod may not exceed: `cpu`, `memory` and others. A limit of the CPU also sets the number of workers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16, "additionalProperties" = { "type": "string", "maxLength": 32 }))]
    pub limits: BTreeMap<String, String>,
}

/// An object that goes into the pod as it is; the API server judges it there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(transform = schema::preserve_unknown)]
pub struct Verbatim(pub Map<String, Value>);

/// The Service in front of the pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// How the Service is reached: inside the cluster (`ClusterIP`), by a port of every node (`NodePort`), or through a load balancer.
    /// Default: `ClusterIP`.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ServiceType>,
    /// Annotations of the Service, such as those that a cloud's load balancer reads.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = { "type": "string", "maxLength": 4096 }))]
    pub annotations: BTreeMap<String, String>,
    /// The port that the Service listens on. Default: `3000`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
    /// The port on every node, for `NodePort` and `LoadBalancer`. Default: one that Kubernetes picks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub node_port: Option<i32>,
}

/// How a Service is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "Kubernetes' own words")]
pub enum ServiceType {
    ClusterIP,
    NodePort,
    LoadBalancer,
}

impl DbxGatewaySpec {
    /// How many pods are wanted; at least, when that changes by itself.
    pub fn replicas(&self) -> i32 {
        match &self.autoscaling {
            Some(autoscaling) => autoscaling.min_replicas.unwrap_or(1),
            None => self.replicas.unwrap_or(1),
        }
    }

    /// The Ingress that is asked for.
    pub fn ingress(&self) -> Option<&Ingress> {
        self.expose.as_ref()?.ingress.as_ref()
    }

    /// The HTTPRoute that is asked for.
    pub fn http_route(&self) -> Option<&HttpRoute> {
        self.expose.as_ref()?.http_route.as_ref()
    }

    /// The ServiceMonitor that is asked for.
    pub fn service_monitor(&self) -> Option<&ServiceMonitor> {
        self.monitoring.as_ref()?.service_monitor.as_ref()
    }

    /// Whether the operator may not change anything.
    pub fn paused(&self) -> bool {
        self.paused.unwrap_or(false)
    }

    /// Whether keys of a namespace, which is not the gateway's own, are taken.
    pub fn allows_keys_from(&self, namespace: &str) -> bool {
        let allowed = self.api_keys.iter().flat_map(|keys| &keys.allowed_namespaces);
        allowed.into_iter().any(|allowed| allowed == namespace || allowed == "*")
    }

    /// The Service's port.
    pub fn port(&self) -> i32 {
        self.service.as_ref().and_then(|service| service.port).unwrap_or(3000)
    }
}

#[cfg(test)]
mod tests;
