//! Looks whether what a gateway refers to exists. Reads metadata only, never what a Secret holds.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    time::{Duration, Instant},
};

use dbx_crds::gateway::{DbxGateway, Reason};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client, Resource, ResourceExt};

use crate::{
    children::owner_uid,
    desired::{Apis, Kind, managed},
    memory::Look,
    names,
    retry::backoff,
    route,
    status::Finding,
};

/// What the look at a managed database's Secret found.
pub(crate) enum Auth {
    /// It exists, with this uid.
    Present(String),
    /// It has to be made.
    Absent,
    /// Somebody else's has its name.
    Foreign,
}

/// When to look again at what a look found.
pub(crate) fn again(look: &Look, resync: Duration) -> Instant {
    let wait = match look.refs {
        Ok(()) => resync,
        Err(_) => backoff(look.misses.saturating_sub(1), Duration::from_secs(2), Duration::from_secs(30)),
    };
    look.at + wait
}

/// The hash of everything that is looked for.
pub(crate) fn subject(gateway: &DbxGateway) -> u64 {
    let mut hasher = DefaultHasher::new();
    for reference in references(gateway) {
        (reference.path, reference.secret, reference.name).hash(&mut hasher);
    }
    managed(gateway).for_each(|(database, _)| database.hash(&mut hasher));
    hasher.finish()
}

/// Looks at every reference; the first that is missing is told.
pub(crate) async fn references_exist(client: &Client, gateway: &DbxGateway) -> kube::Result<Result<(), Finding>> {
    let namespace = gateway.namespace().unwrap_or_default();
    for reference in references(gateway) {
        let (kind, missing) = if reference.secret { ("Secret", Reason::SecretNotFound) } else { ("ConfigMap", Reason::ConfigMapNotFound) };
        let found = if reference.secret {
            exists::<Secret>(client, &namespace, reference.name).await
        } else {
            exists::<ConfigMap>(client, &namespace, reference.name).await
        };
        let finding = match found {
            Ok(true) => continue,
            Ok(false) => Finding::new(missing, format!("{}: {kind} {namespace}/{} does not exist", reference.path, reference.name)),
            Err(kube::Error::Api(status)) if status.code == 403 => Finding::new(
                Reason::RefNotPermitted,
                format!("{}: the operator may not look at {kind} {namespace}/{}: {}", reference.path, reference.name, status.message),
            ),
            Err(error) => return Err(error),
        };
        return Ok(Err(finding));
    }
    Ok(Ok(()))
}

/// Whether the cluster has the APIs that a gateway asks for; the way from outside has a condition of its own.
pub(crate) fn apis_exist(gateway: &DbxGateway, apis: &Apis) -> Result<(), Finding> {
    let asked = [
        (gateway.spec.certificate.is_some(), "spec.certificate", Kind::Certificate),
        (gateway.spec.service_monitor().is_some(), "spec.monitoring.serviceMonitor", Kind::ServiceMonitor),
    ];
    if let Some((_, path, kind)) = asked.into_iter().find(|(asked, _, kind)| *asked && !apis.kinds.contains(kind)) {
        return Err(Finding::new(Reason::ApiMissing, route::missing(path, kind)));
    }
    if gateway.spec.autoscaling.as_ref().is_some_and(|autoscaling| autoscaling.calls_in_flight.is_some()) && !apis.custom_metrics {
        let message = "spec.autoscaling.callsInFlight: the cluster has no custom.metrics.k8s.io; until an adapter such as prometheus-adapter serves it, pods are counted by their CPU";
        return Err(Finding::new(Reason::MetricsApiMissing, message));
    }
    Ok(())
}

/// Looks at the Secrets of managed databases.
pub(crate) async fn auth(client: &Client, gateway: &DbxGateway) -> kube::Result<BTreeMap<String, Auth>> {
    let api: Api<Secret> = Api::namespaced(client.clone(), &gateway.namespace().unwrap_or_default());
    let mut found = BTreeMap::new();
    for (database, _) in managed(gateway) {
        let secret = api.get_metadata_opt(&names::auth(&gateway.name_any(), database)).await?;
        let auth = match secret.map(|secret| secret.metadata) {
            None => Auth::Absent,
            Some(meta) if owner_uid(&meta) == gateway.uid().as_deref() => Auth::Present(meta.uid.unwrap_or_default()),
            Some(_) => Auth::Foreign,
        };
        found.insert(database.to_owned(), auth);
    }
    Ok(found)
}

struct Reference<'a> {
    path: String,
    secret: bool,
    name: &'a str,
}

fn references(gateway: &DbxGateway) -> impl Iterator<Item = Reference<'_>> {
    gateway.spec.config.sources().into_iter().flat_map(|(name, source)| {
        let path = |field: &str| format!("spec.config.{name}.{field}");
        let secret = source.secret_key_ref.as_ref().map(|key| Reference { path: path("secretKeyRef"), secret: true, name: &key.name });
        let config_map =
            source.config_map_key_ref.as_ref().map(|key| Reference { path: path("configMapKeyRef"), secret: false, name: &key.name });
        secret.into_iter().chain(config_map)
    })
}

async fn exists<K>(client: &Client, namespace: &str, name: &str) -> kube::Result<bool>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    Ok(api.get_metadata_opt(name).await?.is_some())
}
