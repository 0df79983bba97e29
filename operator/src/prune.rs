//! Takes away what a gateway owns and no longer needs. A volume goes only when its owner asked for that, and a
//! configuration only when no ReplicaSet can still be rolled back to it.

use std::collections::HashSet;

use dbx_crds::gateway::DbxGateway;
use k8s_openapi::{
    api::apps::v1::{Deployment, ReplicaSet},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, DynamicObject, ListParams, Preconditions},
};

use crate::{
    children::{Children, Known, resource},
    desired::{Kind, Object},
    metrics::Metrics,
    minted,
    names::{self, CONFIG_HASH, DATABASE},
};

/// Takes away what is not among the objects that should exist.
pub(crate) async fn prune(
    client: &Client,
    children: &Children,
    metrics: &Metrics,
    gateway: &DbxGateway,
    objects: &[Object],
) -> kube::Result<()> {
    let namespace = gateway.namespace().unwrap_or_default();
    let mut needed: Option<HashSet<String>> = None;
    for Known { kind, meta } in children.owned_by(&namespace, &gateway.uid().unwrap_or_default()) {
        let Some(name) = &meta.name else { continue };
        if meta.deletion_timestamp.is_some() || objects.iter().any(|object| object.kind == kind && object.name == *name) {
            continue;
        }
        if let Some(hash) = label(&meta, CONFIG_HASH).filter(|_| kind == Kind::ConfigMap) {
            // Until the Deployment's controller has seen the newest template it may still start pods of an older one.
            if !children.deployment(&namespace, &gateway.name_any()).is_some_and(|deployment| observed(&deployment)) {
                continue;
            }
            if needed.is_none() {
                needed = Some(hashes(client, gateway, &namespace).await?);
            }
            if needed.as_ref().is_some_and(|needed| needed.contains(hash)) {
                continue;
            }
        }
        if let Some(database) = label(&meta, DATABASE).filter(|_| kind == Kind::StatefulSet) {
            minted::remove(client, gateway, database).await?;
        }
        delete(client, &namespace, kind, name, meta.uid.clone()).await?;
        metrics.prunes.with_label_values(&[kind.name()]).inc();
        tracing::info!(namespace, kind = kind.name(), name, "took away what is no longer needed");
    }
    Ok(())
}

fn label<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.labels.as_ref()?.get(key).map(String::as_str)
}

fn observed(deployment: &Deployment) -> bool {
    deployment.status.as_ref().is_some_and(|status| status.observed_generation >= deployment.metadata.generation)
}

/// The hashes of the configurations that ReplicaSets need.
async fn hashes(client: &Client, gateway: &DbxGateway, namespace: &str) -> kube::Result<HashSet<String>> {
    let api: Api<ReplicaSet> = Api::namespaced(client.clone(), namespace);
    let selector: Vec<String> =
        names::selector(&gateway.name_any(), "gateway").into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    let sets = api.list_metadata(&ListParams::default().labels(&selector.join(","))).await?;
    Ok(sets.items.iter().filter_map(|set| label(&set.metadata, CONFIG_HASH).map(str::to_owned)).collect())
}

async fn delete(client: &Client, namespace: &str, kind: Kind, name: &str, uid: Option<String>) -> kube::Result<()> {
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource(kind));
    let params = DeleteParams::background().preconditions(Preconditions { uid, resource_version: None });
    match api.delete(name, &params).await {
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        result => result.map(drop),
    }
}
