//! What stands around the pods of a gateway: how many there are, how they are reached, who watches them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Verbatim;
use crate::{config::Duration, schema};

/// How many pods there are, by what they have to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Autoscaling {
    /// The fewest pods that there are. Default: `1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub min_replicas: Option<i32>,
    /// The most pods that there are.
    #[schemars(range(min = 1, max = 1000))]
    pub max_replicas: i32,
    /// The share of the CPU that pods ask for, in percent, which they should use. Default: `80`, unless `callsInFlight` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub cpu_utilization: Option<i32>,
    /// The calls that a pod should be serving at once, by the metric `dbx_calls_in_flight`. It needs an adapter for custom metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000000))]
    pub calls_in_flight: Option<i32>,
}

/// How many pods a node drain may take at once. There is a budget from two pods on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DisruptionBudget {
    /// The most pods that may be away. Default: `1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_unavailable: Option<i32>,
}

/// The identity of the pods: one that exists, or annotations of the one that the operator makes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccount {
    /// A ServiceAccount that exists, and is not changed. Default: one of the gateway's name, which the operator makes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub name: Option<String>,
    /// Annotations of the ServiceAccount that the operator makes, by which clouds give it an identity of theirs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = { "type": "string", "maxLength": 4096 }))]
    pub annotations: BTreeMap<String, String>,
}

/// A variable of the gateway's environment, for libraries and clouds; the gateway itself is set by `config`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentVariable {
    /// The name of the variable.
    #[schemars(length(min = 1, max = 256))]
    pub name: String,
    /// The value of the variable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32768))]
    pub value: Option<String>,
    /// Where its value is read from, as in a pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<Verbatim>,
}

/// A volume, as in a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = schema::preserve_others)]
pub struct Named {
    /// The volume's name.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// All else.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// A mount of a volume, as in a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = schema::preserve_others)]
pub struct Mount {
    /// The volume's name.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Where the volume is mounted. What is below `/etc/dbx` is the operator's.
    #[schemars(length(min = 1, max = 1024))]
    pub mount_path: String,
    /// All else.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// Ways from outside the cluster. The TLS of these ends before the gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Expose {
    /// By an Ingress, which leads every path of its hosts to the Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Ingress>,
    /// By an HTTPRoute of the Gateway API, which leads every path of its host names to the Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_route: Option<HttpRoute>,
}

/// An Ingress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ingress {
    /// The IngressClass, which says who serves it. Default: the cluster's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub class_name: Option<String>,
    /// The host names it takes. A gateway without credentials takes them as well, as if they stood in `config.hosts`.
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 253)))]
    pub hosts: Vec<String>,
    /// The Secret with the certificate for all of them. Default: no TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub tls_secret_name: Option<String>,
    /// Annotations of the Ingress, such as those that its controller reads.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = { "type": "string", "maxLength": 4096 }))]
    pub annotations: BTreeMap<String, String>,
}

/// An HTTPRoute of the Gateway API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpRoute {
    /// The Gateways that are to take it.
    #[schemars(length(min = 1, max = 32))]
    pub parent_refs: Vec<ParentRef>,
    /// The host names it takes. A gateway without credentials takes them as well, as if they stood in `config.hosts`. Default: those of the listeners.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 253)))]
    pub hostnames: Vec<String>,
}

/// A Gateway of the Gateway API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParentRef {
    /// The name of the Gateway.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The namespace of the Gateway. Default: that of the DbxGateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
    /// The listener of the Gateway. Default: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub section_name: Option<String>,
    /// The port of the Gateway's listeners. Default: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
}

/// A Certificate of cert-manager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Certificate {
    /// The Secret that it is written to, as `tls.crt` and `tls.key`. `config` or `expose.ingress.tlsSecretName` names it.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub secret_name: String,
    /// The issuer of cert-manager that issues it.
    pub issuer_ref: IssuerRef,
    /// Names it is for, besides those of the Service and of `expose`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 253)))]
    pub dns_names: Vec<String>,
}

/// An issuer of cert-manager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IssuerRef {
    /// The name of the issuer.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The kind of the issuer: `Issuer`, `ClusterIssuer`, or that of another group. Default: `Issuer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub kind: Option<String>,
    /// The API group of the issuer. Default: `cert-manager.io`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub group: Option<String>,
}

/// Who may reach the pods, and what they may reach. The cluster's network has to enforce NetworkPolicies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkPolicy {
    /// Peers that may call, as in a NetworkPolicy. Default: everybody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub from: Vec<Verbatim>,
    /// Peers that may read metrics, besides the operator, as in a NetworkPolicy. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub metrics_from: Vec<Verbatim>,
    /// Peers that pods may reach, as in a NetworkPolicy, besides DNS and Redis servers that the operator runs. Default: everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub egress: Option<Vec<Verbatim>>,
}

/// What collects the gateway's metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Monitoring {
    /// A ServiceMonitor of the Prometheus operator, for the metrics of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_monitor: Option<ServiceMonitor>,
}

/// A ServiceMonitor of the Prometheus operator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceMonitor {
    /// Labels by which a Prometheus selects it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = { "type": "string", "maxLength": 63 }))]
    pub labels: BTreeMap<String, String>,
    /// How often metrics are read. Default: that of the Prometheus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Duration>,
}
