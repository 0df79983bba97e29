//! One look at one gateway.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::{Duration, Instant},
};

use dbx_crds::{
    config::AuthMode,
    gateway::{DbxGateway, DbxGatewaySpec, DbxGatewayStatus, RECONCILE_AT, Reason},
};
use k8s_openapi::{api::apps::v1::Deployment, apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::{
    Api, Resource, ResourceExt,
    api::{ApiResource, DynamicObject, PartialObjectMeta, Patch, PatchParams},
};
use serde_json::{Value, json};
use tracing::{Instrument, info_span};

use super::{Context, Failure, reason, unreadable};
use crate::{
    apply::{self, Live, Refused},
    children::{Gateway, owner_uid},
    desired::{self, Apis, Input, Kind, Object, Settings, desired},
    keys::revision,
    memory::{Answers, Look, Notes},
    minted,
    names::{self, MANAGER},
    pods, probe,
    prune::prune,
    queue::Next,
    render::{Rendered, render},
    resolve::{self, Auth},
    retry::jittered,
    route, scaling,
    status::{Finding, Observation, Outcome, is_complete, status},
};

/// How often a gateway whose newer version waits looks whether it is its turn.
const TURN: Duration = Duration::from_secs(5);

/// Resolve, validate, desired, apply, status.
pub(super) async fn reconcile(gateway: &DbxGateway, apis: &Apis, context: &Context, notes: &mut Notes) -> Result<Next, Failure> {
    let asked = gateway.annotations().get(RECONCILE_AT).cloned();
    if asked != notes.asked {
        notes.asked = asked;
        notes.look = None;
        notes.answers = None;
    }
    let rendered = render(&gateway.name_any(), &gateway.spec.config);
    let keys = match gateway.spec.config.auth.mode {
        Some(AuthMode::Required) => Some(context.registry.file(gateway).await?),
        _ => None,
    };
    let mut settings = context.settings.clone();
    let known = notes.status.as_ref().or(gateway.status.as_ref());
    let mistakes = invalid(&gateway.spec);
    // Of which nothing is changed, that takes no turn.
    let applied = known.filter(|_| mistakes.is_none() && !gateway.spec.paused()).and_then(|status| status.version.as_deref());
    let held = context.rollouts.image(gateway, applied, &settings.gateway_image);
    let waiting = held.is_some().then(|| desired::image(gateway, &settings.gateway_image).1);
    settings.gateway_image = held.unwrap_or(settings.gateway_image);
    let nothing = BTreeMap::new();
    let file = desired::keys(Input { gateway, rendered: &rendered, settings: &settings, auth: &nothing, keys: keys.as_deref(), apis });
    let untouched = match mistakes {
        _ if gateway.spec.paused() => Some(Outcome::Paused),
        mistakes => mistakes.map(Outcome::Rejected),
    };
    let (outcome, failure) = match untouched {
        Some(outcome) => {
            if let Some(file) = &file {
                apply_keys(gateway, file, context, notes).await?;
            }
            (outcome, None)
        }
        None => program(gateway, &rendered, &settings, keys.as_deref(), apis, context, notes).await?,
    };
    match (&keys, &file) {
        (Some(keys), Some(file)) => tell_of_keys(gateway, keys, file, context, notes).await?,
        _ => context.registry.saw(gateway, None),
    }
    let rejected = matches!(outcome, Outcome::Rejected(_));
    let refs = match &notes.look {
        Some(look) if !rejected => look.refs.clone().and_then(|()| resolve::apis_exist(gateway, apis)),
        _ => Ok(()),
    };
    let exposed = route::exposed(&context.client, gateway, apis, outcome == Outcome::Programmed).await?;
    let deployment = rollout(gateway, context, notes);
    ask_pods(gateway, deployment.as_deref(), context, notes).instrument(info_span!("probe")).await?;
    let answers = notes.answers.as_ref();
    let observation = Observation {
        outcome,
        refs,
        deployment: deployment.as_deref(),
        failure: answers.and_then(|answers| answers.failure.clone()),
        databases: answers.map(|answers| answers.databases.clone()).unwrap_or_default(),
        config_hash: Some(rendered.hash),
        version: Some(desired::image(gateway, &settings.gateway_image).1),
        exposed,
        waiting: waiting.clone(),
    };
    if waiting.is_none() && deployment.as_deref().is_some_and(is_complete) {
        context.rollouts.end(&gateway.namespace().unwrap_or_default(), &gateway.name_any());
    }
    write_status(gateway, &observation, context, notes).instrument(info_span!("status")).await?;
    let next = next(context, notes, rejected, deployment.as_deref());
    match failure {
        Some(error) => Err(error.into()),
        None if waiting.is_some() => Ok(Next::After(next.min(jittered(TURN)))),
        None => Ok(Next::After(next)),
    }
}

/// The state of the rollout, of this gateway's own Deployment only: one that is in the way of ours says nothing about it.
fn rollout(gateway: &DbxGateway, context: &Context, notes: &Notes) -> Option<Arc<Deployment>> {
    let name = gateway.name_any();
    let mut deployment = context.children.deployment(&gateway.namespace().unwrap_or_default(), &name)?;
    if owner_uid(&deployment.metadata) != gateway.uid().as_deref() {
        return None;
    }
    // The cache may still have the Deployment as it was before the last apply, which would look complete.
    let applied = notes.applied.get(&(Kind::Deployment, name)).and_then(|applied| applied.generation);
    if deployment.metadata.generation < applied {
        Arc::make_mut(&mut deployment).metadata.generation = applied;
    }
    Some(deployment)
}

/// The mistakes of a specification, all at once.
fn invalid(spec: &DbxGatewaySpec) -> Option<Finding> {
    let mistakes = spec.config.validate_on_kubernetes();
    let told: Vec<String> = mistakes.iter().map(|mistake| format!("spec.config.{mistake}")).collect();
    (!told.is_empty()).then(|| Finding::new(Reason::InvalidConfig, told.join("; ")))
}

/// Makes the cluster as it should be. An error of the API server goes into the status before it is tried again.
async fn program(
    gateway: &DbxGateway,
    rendered: &Rendered,
    settings: &Settings,
    keys: Option<&str>,
    apis: &Apis,
    context: &Context,
    notes: &mut Notes,
) -> Result<(Outcome, Option<kube::Error>), Failure> {
    let (client, children, namespace) = (&context.client, &context.children, gateway.namespace().unwrap_or_default());
    let known = BTreeMap::new();
    let auth = notes.look.as_ref().map_or(&known, |look| &look.auth);
    let there = |object: &Object| !object.kind.is_optional() || apis.kinds.contains(&object.kind);
    let mut objects = desired(Input { gateway, rendered, settings, auth, keys, apis });
    objects.retain(there);
    let live = match apply::find(children, gateway, &objects).await? {
        Ok(live) => live,
        Err(conflict) => return Ok((Outcome::Rejected(conflict), None)),
    };
    if is_due(gateway, context, notes) {
        match look(gateway, context, notes).instrument(info_span!("resolve")).await? {
            Some(conflict) => return Ok((Outcome::Rejected(conflict), None)),
            None => {
                let auth = notes.look.as_ref().map_or(&known, |look| &look.auth);
                objects = desired(Input { gateway, rendered, settings, auth, keys, apis });
                objects.retain(there);
            }
        }
    }
    scaling::hand_over(client, gateway, &mut objects).await?;
    let mut applied = apply::apply(client, children, &context.metrics, gateway, &objects, &live, notes).await;
    if matches!(&applied, Err(Refused { kind: Kind::Deployment, error, .. }) if scaling::is_gone(error)) {
        scaling::hand_over(client, gateway, &mut objects).await?;
        applied = apply::apply(client, children, &context.metrics, gateway, &objects, &Live::new(), notes).await;
    }
    if let Err(Refused { kind, name, error }) = applied {
        let finding = Finding::new(Reason::ApplyFailed, format!("{} {namespace}/{name}: {}", kind.name(), reason(&error)));
        return Ok((Outcome::Failed(finding), Some(error)));
    }
    prune(client, children, &context.metrics, gateway, &objects).instrument(info_span!("prune")).await?;
    Ok((Outcome::Programmed, None))
}

/// Of a gateway that is not accepted or paused, its file of keys is kept up to date all the same: a key that was deleted is
/// not taken any more.
async fn apply_keys(gateway: &DbxGateway, file: &Object, context: &Context, notes: &mut Notes) -> Result<(), Failure> {
    let found = context.children.find(file.kind, &gateway.namespace().unwrap_or_default(), &file.name).await?;
    if let Some(meta) = found.filter(|meta| owner_uid(meta) == gateway.uid().as_deref()) {
        let live = Live::from([((file.kind, file.name.clone()), meta)]);
        let applied = apply::apply_one(&context.client, &context.children, &context.metrics, gateway, file, &live, notes).await;
        applied.map_err(|refused| refused.error)?;
    }
    Ok(())
}

/// Once the file of keys is written, its readers are hurried and the keys that wait for it are looked at.
async fn tell_of_keys(gateway: &DbxGateway, keys: &str, file: &Object, context: &Context, notes: &mut Notes) -> Result<(), Failure> {
    let written = apply::is_applied(file, notes).then(|| revision(keys));
    if let Some(revision) = &written
        && notes.hurried.as_ref() != Some(revision)
    {
        pods::hurry(&context.client, gateway, revision).await?;
        notes.hurried = Some(revision.clone());
    }
    context.registry.saw(gateway, written);
    Ok(())
}

fn is_due(gateway: &DbxGateway, context: &Context, notes: &Notes) -> bool {
    let subject = resolve::subject(gateway);
    notes.look.as_ref().is_none_or(|look| look.subject != subject || resolve::again(look, context.resync) <= Instant::now())
}

/// Looks at references, and makes Secrets of managed databases that are absent.
async fn look(gateway: &DbxGateway, context: &Context, notes: &mut Notes) -> Result<Option<Finding>, Failure> {
    let refs = resolve::references_exist(&context.client, gateway).await?;
    let mut auth = BTreeMap::new();
    for (database, found) in resolve::auth(&context.client, gateway).await? {
        let uid = match found {
            Auth::Present(uid) => uid,
            Auth::Absent => minted::mint(&context.client, gateway, &database).await?,
            Auth::Foreign => {
                let name = names::auth(&gateway.name_any(), &database);
                return Ok(Some(apply::foreign("Secret", &gateway.namespace().unwrap_or_default(), &name)));
            }
        };
        auth.insert(database, uid);
    }
    let misses = if refs.is_ok() { 0 } else { notes.look.as_ref().map_or(0, |look| look.misses) + 1 };
    notes.look = Some(Look { at: Instant::now(), subject: resolve::subject(gateway), refs, auth, misses });
    Ok(None)
}

/// Asks pods when the Deployment's status changed, while pods are being replaced, and else from time to time.
async fn ask_pods(gateway: &DbxGateway, deployment: Option<&Deployment>, context: &Context, notes: &mut Notes) -> Result<(), Failure> {
    let running = deployment.filter(|deployment| deployment.status.as_ref().and_then(|status| status.replicas).unwrap_or(0) > 0);
    let Some(deployment) = running else {
        (notes.answers, notes.rolling_since) = (None, None);
        return Ok(());
    };
    let complete = is_complete(deployment);
    notes.rolling_since = if complete { None } else { notes.rolling_since.or_else(|| Some(Instant::now())) };
    let mut hasher = DefaultHasher::new();
    json!(deployment.status).hash(&mut hasher);
    let subject = hasher.finish();
    let period = if complete { context.probe } else { Duration::from_secs(4) };
    if notes.answers.as_ref().is_some_and(|answers| answers.subject == subject && answers.at.elapsed() < period.mul_f64(0.9)) {
        return Ok(());
    }
    let pods = pods::list(&context.client, gateway).await?;
    let databases = probe::ask(&pods::addresses(&pods)).await;
    let mut failure = pods::failure(&pods).filter(|_| !complete);
    if failure.is_none()
        && !complete
        && let Some((pod, address)) = pods::unready(&pods)
    {
        failure = probe::complaint(&address, &gateway.spec.config).await.map(|complaint| format!("pod {pod} is not ready: {complaint}"));
    }
    if failure.is_none() && !complete {
        failure = pods::unmounted(&context.client, &pods).await?;
    }
    notes.answers = Some(Answers { at: Instant::now(), subject, databases, failure });
    Ok(())
}

/// When to look again if nothing happens.
fn next(context: &Context, notes: &Notes, rejected: bool, deployment: Option<&Deployment>) -> Duration {
    let mut next = context.resync;
    if let Some(look) = notes.look.as_ref().filter(|look| look.refs.is_err()) {
        next = next.min(resolve::again(look, context.resync).saturating_duration_since(Instant::now()));
    }
    if rejected {
        next = next.min(Duration::from_secs(30));
    }
    if deployment.is_some_and(|deployment| deployment.status.as_ref().and_then(|status| status.replicas).unwrap_or(0) > 0) {
        next = next.min(context.probe);
    }
    if let Some(since) = notes.rolling_since {
        next = next.min((since.elapsed() / 6).clamp(Duration::from_secs(5), Duration::from_secs(60)));
    }
    jittered(next.max(Duration::from_millis(500)))
}

async fn write_status(gateway: &DbxGateway, seen: &Observation<'_>, context: &Context, notes: &mut Notes) -> Result<(), Failure> {
    let known = gateway.status.clone().unwrap_or_default();
    let before = notes.status.clone().unwrap_or_else(|| known.clone());
    let after = status(gateway, &before, seen, &Time(Timestamp::now()));
    if after == before && notes.status.is_some() || after == known {
        notes.status = Some(after);
        return Ok(());
    }
    let params = PatchParams::apply(MANAGER).force();
    patch_status(context, gateway, &params, &Patch::Apply(patch(gateway, &after))).await?;
    context.events.publish(&gateway.object_ref(&()), &before.conditions, &after.conditions).await;
    notes.status = Some(after);
    Ok(())
}

fn patch(gateway: &DbxGateway, status: &DbxGatewayStatus) -> Value {
    json!({
        "apiVersion": DbxGateway::api_version(&()),
        "kind": DbxGateway::kind(&()),
        // With the uid, the status cannot land on another object of the same name.
        "metadata": { "name": gateway.name_any(), "uid": gateway.uid() },
        "status": status,
    })
}

async fn patch_status(context: &Context, gateway: &DbxGateway, params: &PatchParams, patch: &Patch<Value>) -> kube::Result<()> {
    let gateways: Api<PartialObjectMeta<DbxGateway>> = Api::namespaced(context.client.clone(), &gateway.namespace().unwrap_or_default());
    let result = gateways.patch_status(&gateway.name_any(), params, patch).await.map(drop);
    context.metrics.statuses.with_label_values(&[if result.is_ok() { "ok" } else { "error" }]).inc();
    match result {
        // Deleted meanwhile.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        // An object past the schema of which a rule cannot even be evaluated: its status cannot be written until it is
        // corrected, and its events tell what it would say.
        Err(kube::Error::Api(status)) if status.code == 422 => {
            tracing::warn!(gateway = gateway.name_any(), error = status.message, "a status is not taken, and told by events alone");
            Ok(())
        }
        result => result,
    }
}

/// Says of an object that cannot be read where its mistake is. It was stored past the schema; the others go on.
pub(super) async fn reject_unreadable(gateway: &Gateway, context: &Context, notes: &mut Notes) -> Result<Next, Failure> {
    let (namespace, name) = (gateway.namespace().unwrap_or_default(), gateway.name_any());
    let objects: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), &namespace, &ApiResource::erase::<DbxGateway>(&()));
    let Some(object) = objects.get_opt(&name).await? else { return Ok(Next::Change) };
    let Some(message) = unreadable::<DbxGatewaySpec>(&object.data["spec"]) else {
        return Ok(Next::After(Duration::from_secs(5)));
    };
    let mut readable = DbxGateway::new(&name, DbxGatewaySpec::default());
    readable.metadata = object.metadata.clone();
    let known = || serde_json::from_value(object.data["status"].clone()).unwrap_or_default();
    let before: DbxGatewayStatus = notes.status.clone().unwrap_or_else(known);
    let seen = Observation {
        outcome: Outcome::Rejected(Finding::new(Reason::InvalidObject, message)),
        refs: Ok(()),
        deployment: None,
        failure: None,
        databases: Vec::new(),
        config_hash: None,
        version: None,
        exposed: None,
        waiting: None,
    };
    let mut after = status(&readable, &before, &seen, &Time(Timestamp::now()));
    (after.databases_ready, after.url) = (None, None);
    if after != before {
        // Server-side apply would want the whole object to fit the schema, which this one does not.
        let params = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
        patch_status(context, &readable, &params, &Patch::Merge(patch(&readable, &after))).await?;
        context.events.publish(&readable.object_ref(&()), &before.conditions, &after.conditions).await;
    }
    notes.status = Some(after);
    Ok(Next::After(jittered(context.resync)))
}
