//! What should exist for a gateway. Pure: no clock, no network, one file for each kind of resource.

mod autoscaler;
mod certificate;
mod config_map;
mod deployment;
mod disruption_budget;
mod http_route;
mod ingress;
mod mounts;
mod network_policy;
mod redis;
mod service;
mod service_account;
mod service_monitor;

use std::collections::{BTreeMap, BTreeSet};

use dbx_crds::{
    config::{Duration, Managed},
    gateway::{DbxGateway, PullPolicy},
};
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::{args::Run, names, render::Rendered};

pub use redis::acl;

/// A kind of object that the operator makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "Kubernetes' own words")]
pub enum Kind {
    ServiceAccount,
    ConfigMap,
    PersistentVolumeClaim,
    Service,
    StatefulSet,
    Deployment,
    PodDisruptionBudget,
    HorizontalPodAutoscaler,
    Ingress,
    NetworkPolicy,
    HttpRoute,
    ServiceMonitor,
    Certificate,
}

impl Kind {
    /// All of them, in the order in which they are applied.
    pub const ALL: [Self; 13] = [
        Self::ServiceAccount,
        Self::ConfigMap,
        Self::PersistentVolumeClaim,
        Self::Service,
        Self::StatefulSet,
        Self::Deployment,
        Self::PodDisruptionBudget,
        Self::HorizontalPodAutoscaler,
        Self::Ingress,
        Self::NetworkPolicy,
        Self::HttpRoute,
        Self::ServiceMonitor,
        Self::Certificate,
    ];

    /// Whether its API is one that a cluster need not have.
    pub fn is_optional(self) -> bool {
        matches!(self, Self::HttpRoute | Self::ServiceMonitor | Self::Certificate)
    }

    /// Its name in an object.
    pub fn name(self) -> &'static str {
        self.parts().1
    }

    /// Its API version in an object.
    pub fn api_version(self) -> &'static str {
        self.parts().0
    }

    /// Its plural in paths.
    pub fn plural(self) -> &'static str {
        self.parts().2
    }

    fn parts(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::ServiceAccount => ("v1", "ServiceAccount", "serviceaccounts"),
            Self::ConfigMap => ("v1", "ConfigMap", "configmaps"),
            Self::PersistentVolumeClaim => ("v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
            Self::Service => ("v1", "Service", "services"),
            Self::StatefulSet => ("apps/v1", "StatefulSet", "statefulsets"),
            Self::Deployment => ("apps/v1", "Deployment", "deployments"),
            Self::PodDisruptionBudget => ("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
            Self::HorizontalPodAutoscaler => ("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
            Self::Ingress => ("networking.k8s.io/v1", "Ingress", "ingresses"),
            Self::NetworkPolicy => ("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
            Self::HttpRoute => ("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes"),
            Self::ServiceMonitor => ("monitoring.coreos.com/v1", "ServiceMonitor", "servicemonitors"),
            Self::Certificate => ("cert-manager.io/v1", "Certificate", "certificates"),
        }
    }
}

/// An object that should exist.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Its kind.
    pub kind: Kind,
    /// Its name, in the gateway's namespace.
    pub name: String,
    /// All that the operator has to say about it.
    pub body: Value,
}

/// What the operator's own settings contribute.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The gateway's image when an object names none.
    pub gateway_image: String,
    /// The image of managed Redis servers.
    pub redis_image: String,
    /// When nodes pull them.
    pub pull_policy: PullPolicy,
    /// Secrets that pulling them needs.
    pub pull_secrets: Vec<String>,
    /// The operator's own namespace.
    pub namespace: String,
}

impl Settings {
    /// The settings of an operator in a namespace.
    pub fn new(run: &Run, namespace: &str) -> Self {
        Self {
            namespace: namespace.into(),
            gateway_image: run.gateway_image.clone(),
            redis_image: run.redis_image.clone(),
            pull_policy: run.pull_policy,
            pull_secrets: run.pull_secrets.clone(),
        }
    }
}

/// Everything that the objects of one gateway are made from.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The gateway.
    pub gateway: &'a DbxGateway,
    /// Its rendered configuration.
    pub rendered: &'a Rendered,
    /// The operator's settings.
    pub settings: &'a Settings,
    /// For each managed database the uid of its Secret, whose change has to restart the server.
    pub auth: &'a BTreeMap<String, String>,
    /// The file of the keys that it takes, when it asks for credentials.
    pub keys: Option<&'a str>,
    /// What the cluster has of the APIs that it need not have.
    pub apis: &'a Apis,
}

/// What a cluster has of the APIs that it need not have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Apis {
    /// Kinds.
    pub kinds: BTreeSet<Kind>,
    /// The API of custom metrics.
    pub custom_metrics: bool,
}

/// Everything that should exist, in the order in which it is applied; also what the cluster has no API for.
pub fn desired(input: Input<'_>) -> Vec<Object> {
    let mut objects = vec![config_map::desired(input), deployment::desired(input), service::desired(input)];
    objects.extend(service_account::desired(input));
    objects.extend(config_map::keys(input));
    objects.extend(disruption_budget::desired(input));
    objects.extend(autoscaler::desired(input));
    objects.extend(ingress::desired(input));
    objects.extend(network_policy::desired(input));
    objects.extend(http_route::desired(input));
    objects.extend(service_monitor::desired(input));
    objects.extend(certificate::desired(input));
    for (database, managed) in managed(input.gateway) {
        objects.extend(redis::desired(input, database, managed));
    }
    objects.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
    objects
}

/// The file of the keys alone, which follows the keys even while the rest is not accepted.
pub fn keys(input: Input<'_>) -> Option<Object> {
    config_map::keys(input)
}

/// The managed databases of a gateway.
pub fn managed(gateway: &DbxGateway) -> impl Iterator<Item = (&str, &Managed)> {
    let databases = gateway.spec.config.databases.iter();
    databases.filter_map(|database| Some((database.name.as_str(), database.redis.as_ref()?.managed.as_ref()?)))
}

/// The image that a gateway runs, and its version: tag or digest.
pub fn image(gateway: &DbxGateway, default: &str) -> (String, String) {
    let (repository, version) = split(default);
    let Some(image) = &gateway.spec.image else { return (default.into(), version.into()) };
    let repository = image.repository.as_deref().unwrap_or(repository);
    match (&image.digest, &image.tag) {
        (Some(digest), _) => (format!("{repository}@{digest}"), digest.clone()),
        (None, Some(tag)) => (format!("{repository}:{tag}"), tag.clone()),
        (None, None) if version.contains(':') => (format!("{repository}@{version}"), version.into()),
        (None, None) => (format!("{repository}:{version}"), version.into()),
    }
}

/// An image in another version.
pub fn of_version(image: &str, version: &str) -> String {
    let repository = split(image).0;
    if version.contains(':') { format!("{repository}@{version}") } else { format!("{repository}:{version}") }
}

/// Takes an image apart: repository, and tag or digest.
fn split(image: &str) -> (&str, &str) {
    if let Some(parts) = image.split_once('@') {
        return parts;
    }
    match image.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (image, "latest"),
    }
}

/// Secrets that pulling a gateway's images needs.
fn pull_secrets(input: Input<'_>) -> Option<Vec<Value>> {
    let own = input.gateway.spec.image.iter().flat_map(|image| image.pull_secrets.iter().map(|secret| secret.name.as_str()));
    let mut names: Vec<&str> = own.chain(input.settings.pull_secrets.iter().map(String::as_str)).collect();
    names.sort_unstable();
    names.dedup();
    (!names.is_empty()).then(|| names.into_iter().map(|name| json!({ "name": name })).collect())
}

/// Names inside the cluster that a gateway is called by.
fn inside(gateway: &DbxGateway) -> [String; 4] {
    let name = gateway.name_any();
    let within = format!("{name}.{}", gateway.namespace().unwrap_or_default());
    [name, within.clone(), format!("{within}.svc"), format!("{within}.svc.cluster.local")]
}

/// Names from outside that a gateway is called by.
fn outside(gateway: &DbxGateway) -> impl Iterator<Item = &str> {
    let ingress = gateway.spec.ingress().into_iter().flat_map(|ingress| &ingress.hosts);
    let route = gateway.spec.http_route().into_iter().flat_map(|route| &route.hostnames);
    ingress.chain(route).map(String::as_str)
}

/// Whole seconds, rounded up.
fn seconds(duration: &Duration) -> u64 {
    duration.value().as_millis().div_ceil(1000) as u64
}

/// An object of a component, owned by the gateway.
fn object(input: Input<'_>, kind: Kind, name: String, component: &str, rest: Value) -> Object {
    let mut object = unowned(input, kind, name, component, rest);
    object.body["metadata"]["ownerReferences"] = json!([owner(input.gateway)]);
    object
}

/// An object of a component that outlives the gateway.
fn unowned(input: Input<'_>, kind: Kind, name: String, component: &str, rest: Value) -> Object {
    let mut body = json!({
        "apiVersion": kind.api_version(),
        "kind": kind.name(),
        "metadata": {
            "name": name,
            "namespace": input.gateway.namespace(),
            "labels": names::labels(&input.gateway.name_any(), component),
        },
    });
    let (Value::Object(fields), Value::Object(rest)) = (&mut body, rest) else { unreachable!("both are objects") };
    fields.extend(rest);
    drop_nulls(&mut body);
    Object { kind, name, body }
}

/// The reference by which Kubernetes deletes a child after its gateway.
pub fn owner(gateway: &DbxGateway) -> Value {
    json!({
        "apiVersion": "dbx.dev/v1alpha1",
        "kind": "DbxGateway",
        "name": gateway.name_any(),
        "uid": gateway.uid(),
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

/// What is not said is left out.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
