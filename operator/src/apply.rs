//! Writes what should exist: server-side apply, forced, and only after a look that nothing foreign has the name. What was
//! applied and has not changed since is left alone.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use dbx_crds::gateway::{DbxGateway, Reason};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api, Client, ResourceExt,
    api::{DynamicObject, Patch, PatchParams},
};
use serde_json::{Value, json};
use tracing::Instrument;

use crate::{
    children::{Children, owner_uid, resource},
    desired::{Kind, Object},
    memory::{Applied, Notes},
    metrics::Metrics,
    names::{self, MANAGER},
    status::Finding,
};

/// The API server refused an object, or did not answer.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) error: kube::Error,
}

/// The metadata of objects as it was found, which the cache may have a newer one of.
pub(crate) type Live = HashMap<(Kind, String), ObjectMeta>;

/// Looks which of the objects exist; the first whose name belongs to somebody else ends it.
pub(crate) async fn find(children: &Children, gateway: &DbxGateway, objects: &[Object]) -> kube::Result<Result<Live, Finding>> {
    let namespace = gateway.namespace().unwrap_or_default();
    let mut live = Live::new();
    for object in objects {
        if let Some(meta) = children.find(object.kind, &namespace, &object.name).await? {
            if !is_ours(gateway, object.kind, &meta) {
                return Ok(Err(foreign(object.kind.name(), &namespace, &object.name)));
            }
            live.insert((object.kind, object.name.clone()), meta);
        }
    }
    Ok(Ok(live))
}

/// What is said about a name that belongs to somebody else.
pub(crate) fn foreign(kind: &str, namespace: &str, name: &str) -> Finding {
    Finding::new(
        Reason::NameConflict,
        format!("{kind} {namespace}/{name} exists and does not belong to this gateway; delete it or give the gateway another name"),
    )
}

fn is_ours(gateway: &DbxGateway, kind: Kind, meta: &ObjectMeta) -> bool {
    let label = |key: &str| meta.labels.as_ref().and_then(|labels| labels.get(key)).map(String::as_str);
    match owner_uid(meta) {
        Some(uid) => Some(uid) == gateway.uid().as_deref(),
        // A volume outlives its gateway and is taken over by the next one of the name.
        None => {
            kind == Kind::PersistentVolumeClaim
                && label(names::MANAGED_BY) == Some(MANAGER)
                && label(names::INSTANCE) == Some(&gateway.name_any())
        }
    }
}

/// Applies the objects in their order.
pub(crate) async fn apply(
    client: &Client,
    children: &Children,
    metrics: &Metrics,
    gateway: &DbxGateway,
    objects: &[Object],
    live: &Live,
    notes: &mut Notes,
) -> Result<(), Refused> {
    notes.applied.retain(|(kind, name), _| objects.iter().any(|object| object.kind == *kind && object.name == *name));
    for object in objects {
        apply_one(client, children, metrics, gateway, object, live, notes).await?;
    }
    Ok(())
}

/// Applies one object, unless it is as it was when it was applied last.
pub(crate) async fn apply_one(
    client: &Client,
    children: &Children,
    metrics: &Metrics,
    gateway: &DbxGateway,
    object: &Object,
    live: &Live,
    notes: &mut Notes,
) -> Result<(), Refused> {
    let namespace = gateway.namespace().unwrap_or_default();
    let refused = |error| Refused { kind: object.kind, name: object.name.clone(), error };
    let key = (object.kind, object.name.clone());
    let desired = hash(&object.body);
    let live = children.cached(object.kind, &namespace, &object.name).or_else(|| live.get(&key).cloned());
    let before = notes.applied.get(&key);
    if let (Some(before), Some(live)) = (before, &live)
        && before.desired == desired
        && before.fingerprint == fingerprint(live, &object.body)
    {
        return Ok(());
    }
    if object.kind == Kind::HorizontalPodAutoscaler
        && let (Some(applied), Some(live)) = (notes.applied.get_mut(&key), &live)
        && applied.desired == desired
        && is_as_wanted(client, &namespace, object).await.map_err(refused)?
    {
        applied.fingerprint = fingerprint(live, &object.body);
        return Ok(());
    }
    let before = notes.applied.get(&key);
    let span = tracing::info_span!("apply", kind = object.kind.name(), name = object.name, result = tracing::field::Empty);
    let outcome = send(client, &namespace, object).instrument(span.clone()).await;
    let result = if outcome.is_ok() { "applied" } else { "refused" };
    span.record("result", result);
    metrics.applies.with_label_values(&[object.kind.name(), result]).inc();
    let meta = outcome.map_err(refused)?;
    if before.is_some_and(|before| before.desired == desired && before.resource_version != meta.resource_version) {
        // Nothing new was said, and yet it had an effect: somebody had changed the object or taken it away.
        let changed = live.is_none_or(|live| live.resource_version != meta.resource_version);
        if changed {
            metrics.drift.with_label_values(&[object.kind.name()]).inc();
            tracing::info!(namespace, kind = object.kind.name(), name = object.name, "put back what was changed or deleted");
        }
    }
    let applied = Applied {
        desired,
        fingerprint: fingerprint(&meta, &object.body),
        generation: meta.generation,
        resource_version: meta.resource_version,
    };
    notes.applied.insert(key, applied);
    Ok(())
}

/// Whether an object was applied as it is.
pub(crate) fn is_applied(object: &Object, notes: &Notes) -> bool {
    let applied = notes.applied.get(&(object.kind, object.name.clone()));
    applied.is_some_and(|applied| applied.desired == hash(&object.body))
}

async fn send(client: &Client, namespace: &str, object: &Object) -> kube::Result<ObjectMeta> {
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource(object.kind));
    let params = PatchParams::apply(MANAGER).force().validation_strict();
    Ok(api.patch_metadata(&object.name, &params, &Patch::Apply(&object.body)).await?.metadata)
}

/// Whether an object that has no generation, and whose status changes all the time, still says what was applied.
async fn is_as_wanted(client: &Client, namespace: &str, object: &Object) -> kube::Result<bool> {
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource(object.kind));
    Ok(api.get_opt(&object.name).await?.is_some_and(|live| contains(&json!(live), &object.body)))
}

fn contains(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| live.get(key).is_some_and(|live| contains(live, wanted)))
        }
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() == wanted.len() && live.iter().zip(wanted).all(|(live, wanted)| contains(live, wanted))
        }
        (live, wanted) => live == wanted,
    }
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// What changes when somebody else changes what was applied. An object without a generation changes with every write; one
/// that has one does not with its status.
fn fingerprint(meta: &ObjectMeta, body: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    meta.uid.hash(&mut hasher);
    match meta.generation {
        Some(generation) => generation.hash(&mut hasher),
        // A claim's version changes as its volume comes and goes. Nobody can change its specification but to expand it,
        // which cannot be taken back.
        None if body["kind"] == Kind::PersistentVolumeClaim.name() => {}
        None => meta.resource_version.hash(&mut hasher),
    }
    for (field, live) in [("labels", &meta.labels), ("annotations", &meta.annotations)] {
        for key in body["metadata"][field].as_object().into_iter().flat_map(|wanted| wanted.keys()) {
            live.as_ref().and_then(|live| live.get(key)).hash(&mut hasher);
        }
    }
    meta.owner_references.iter().flatten().for_each(|owner| owner.uid.hash(&mut hasher));
    hasher.finish()
}
