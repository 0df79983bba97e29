//! The loop: one gateway at a time through resolve, validate, desired, apply and status, many gateways at once. A failure
//! costs the one gateway a delay.

mod pipeline;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use dbx_crds::gateway::RECONCILE_AT;
use futures::{
    FutureExt, StreamExt,
    channel::mpsc::{UnboundedReceiver, unbounded},
    future::join_all,
};
use kube::{
    Client, Resource, ResourceExt,
    api::DynamicObject,
    runtime::{
        Controller, WatchStreamExt,
        controller::{Action, Config, Error},
        reflector::{ObjectRef, Store, store, store::Writer},
        watcher,
    },
};
use tokio::sync::{Semaphore, watch};

use crate::{
    args::Run,
    children::{Children, Gateway},
    desired::{Kind, Settings},
    discovery,
    events::Events,
    health::Health,
    keys::{self, ApiKey, Reach, Registry, Worker},
    listed::Listed,
    memory::Memory,
    metrics::Metrics,
    retry::backoff,
    rollouts::Rollouts,
    scope::Scope,
};

/// What every reconcile may use.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) children: Children,
    pub(crate) settings: Settings,
    pub(crate) memory: Memory,
    pub(crate) events: Events,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) health: Arc<Health>,
    pub(crate) listed: Arc<Listed>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) apis: discovery::Known,
    pub(crate) rollouts: Arc<Rollouts>,
    /// How many objects are worked on at once, whatever their namespaces.
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) resync: Duration,
    pub(crate) probe: Duration,
}

/// A reconcile that has to be tried again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The API server refused or did not answer.
    #[error("{}", reason(.0))]
    Api(#[from] kube::Error),
    /// It took too long.
    #[error("did not end within {0:?}")]
    Late(Duration),
}

/// What metrics, logs and lists call gateways.
const KIND: &str = "DbxGateway";

/// All that has to be listed before the first look.
pub(crate) fn lists(args: &Run) -> Vec<(&'static str, Scope)> {
    let kinds = || Kind::ALL.into_iter().filter(|kind| !kind.is_optional()).map(Kind::name).chain([KIND, keys::KIND]);
    Scope::of(&args.watch_namespaces).into_iter().flat_map(|scope| kinds().map(move |kind| (kind, scope.clone()))).collect()
}

/// How long one look at a gateway may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs until told to stop.
pub(crate) async fn run(
    client: Client,
    args: &Run,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    listed: Arc<Listed>,
    stop: impl Future<Output = ()> + Clone + Send + Sync + 'static,
) -> anyhow::Result<()> {
    let permits = Arc::new(Semaphore::new(args.concurrency.into()));
    let counts: Arc<Mutex<HashMap<Scope, usize>>> = Arc::default();
    let (reaches, inlets): (Vec<Reach>, Vec<Inlet>) = Scope::of(&args.watch_namespaces).into_iter().map(reach).unzip();
    let registry = Arc::new(Registry::new(client.clone(), reaches));
    let rollouts = Arc::new(Rollouts::new(args.max_concurrent_rollouts));
    let (known, apis) = watch::channel(None);
    let settings = Settings::new(args, client.default_namespace());
    let mut runs = Vec::new();
    for inlet in inlets {
        let Inlet { scope, gateways, gateway_writer, keys, key_writer, asked_gateways, asked_keys } = inlet;
        let (children, changed) = Children::watch(&client, &scope, &metrics, &listed, &apis);
        let watched = watcher(scope.api::<Gateway>(&client), watcher::Config::default())
            .modify(|gateway| gateway.meta_mut().managed_fields = None)
            .default_backoff()
            .reflect(gateway_writer)
            .inspect({
                let (listed, scope) = (listed.clone(), scope.clone());
                move |event| listed.note(KIND, &scope, event)
            })
            .applied_objects()
            .predicate_filter(news, Default::default());
        let context = Arc::new(Context {
            client: client.clone(),
            children,
            settings: settings.clone(),
            apis: apis.clone(),
            memory: Memory::default(),
            events: Events::new(client.clone()),
            metrics: metrics.clone(),
            health: health.clone(),
            listed: listed.clone(),
            permits: permits.clone(),
            registry: registry.clone(),
            rollouts: rollouts.clone(),
            resync: Duration::from_secs(args.resync),
            probe: Duration::from_secs(args.probe),
        });
        let worker = Arc::new(Worker {
            client: client.clone(),
            registry: registry.clone(),
            events: Events::new(client.clone()),
            metrics: metrics.clone(),
            health: health.clone(),
            listed: listed.clone(),
            permits: permits.clone(),
            resync: Duration::from_secs(args.resync),
            notes: Mutex::default(),
        });
        runs.push(keys::run(worker, scope.clone(), keys, key_writer, asked_keys, args.concurrency, stop.clone()).boxed());
        let counts = counts.clone();
        let run = Controller::for_stream(watched, gateways.clone())
            .reconcile_on(changed)
            .reconcile_on(asked_gateways)
            .with_config(Config::default().concurrency(args.concurrency))
            .graceful_shutdown_on(stop.clone())
            .run(reconcile, on_failure, context.clone())
            .for_each(move |result| {
                let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
                counts.insert(scope.clone(), gateways.len());
                context.metrics.gateways.set(counts.values().sum::<usize>() as i64);
                note(result, &context);
                std::future::ready(())
            });
        runs.push(run.boxed());
    }
    let look = discovery::run(client, known, Duration::from_secs(args.discover), || registry.look_at_gateways());
    tokio::select! {
        _ = join_all(runs) => {}
        () = look => {}
    }
    Ok(())
}

/// The ends of what a scope's controllers read.
struct Inlet {
    scope: Scope,
    gateways: Store<Gateway>,
    gateway_writer: Writer<Gateway>,
    keys: Store<ApiKey>,
    key_writer: Writer<ApiKey>,
    asked_gateways: UnboundedReceiver<ObjectRef<Gateway>>,
    asked_keys: UnboundedReceiver<ObjectRef<ApiKey>>,
}

fn reach(scope: Scope) -> (Reach, Inlet) {
    let ((gateways, gateway_writer), (keys, key_writer)) = (store(), store());
    // What waits in them is bounded by the number of objects times the looks that may run.
    let ((to_gateways, asked_gateways), (to_keys, asked_keys)) = (unbounded(), unbounded());
    let reach = Reach { scope: scope.clone(), gateways: gateways.clone(), keys: keys.clone(), to_gateways, to_keys };
    (reach, Inlet { scope, gateways, gateway_writer, keys, key_writer, asked_gateways, asked_keys })
}

/// Logs and counts what came of one look.
fn note(result: Result<(ObjectRef<Gateway>, Action), Error<Failure, watcher::Error>>, context: &Context) {
    let key = |reference: &ObjectRef<DynamicObject>| format!("{}/{}", reference.namespace.as_deref().unwrap_or_default(), reference.name);
    match result {
        Ok(_) => {}
        Err(Error::ObjectNotFound(reference)) => {
            context.memory.forget(&key(&reference));
            let namespace = reference.namespace.as_deref().unwrap_or_default();
            context.registry.lost(namespace, &reference.name);
            context.rollouts.end(namespace, &reference.name);
        }
        Err(Error::ReconcilerFailed(error, reference)) => {
            tracing::warn!(gateway = key(&reference), error = %error, "a gateway could not be dealt with and is tried again");
        }
        Err(Error::QueueError(error)) => {
            context.metrics.watch_errors.with_label_values(&[KIND]).inc();
            tracing::warn!(kind = KIND, error = %error, "a watch ended and is started again");
        }
        Err(error) => tracing::error!(error = %error, "the reconcile loop reports an error"),
    }
}

/// What makes a change of a gateway worth a look: not its status, which is ours.
fn news(gateway: &Gateway) -> Option<u64> {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    let meta = gateway.meta();
    (&meta.uid, meta.generation, &meta.deletion_timestamp.is_some()).hash(&mut hasher);
    meta.annotations.as_ref().and_then(|annotations| annotations.get(RECONCILE_AT)).hash(&mut hasher);
    Some(hasher.finish())
}

fn key(gateway: &Gateway) -> String {
    format!("{}/{}", gateway.namespace().unwrap_or_default(), gateway.name_any())
}

async fn reconcile(gateway: Arc<Gateway>, context: Arc<Context>) -> Result<Action, Failure> {
    if gateway.meta().deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    context.listed.complete().await;
    // Never closed, so always given.
    let _permit = context.permits.acquire().await;
    let _running = context.health.start();
    let start = std::time::Instant::now();
    let key = key(&gateway);
    let mut notes = context.memory.take(&key, gateway.meta().uid.as_deref().unwrap_or_default());
    let work = async {
        match &gateway.0 {
            Ok(gateway) => {
                // When nobody looks any more the operator ends.
                let apis = context.apis.clone().wait_for(Option::is_some).await.ok().and_then(|apis| apis.clone()).unwrap_or_default();
                pipeline::reconcile(gateway, &apis, &context, &mut notes).await
            }
            Err(_) => pipeline::reject_unreadable(&gateway, &context, &mut notes).await,
        }
    };
    let result = match tokio::time::timeout(PATIENCE, work).await {
        // The gateway goes with its namespace.
        Ok(Err(Failure::Api(error))) if namespace_ends(&error) => Ok(Action::await_change()),
        Ok(result) => result,
        Err(_) => Err(Failure::Late(PATIENCE)),
    };
    if result.is_ok() {
        notes.failures = 0;
    }
    context.memory.put(key, notes);
    let word = if result.is_ok() { "ok" } else { "error" };
    context.metrics.reconciles.with_label_values(&[KIND, word]).inc();
    context.metrics.durations.with_label_values(&[KIND, word]).observe(start.elapsed().as_secs_f64());
    result
}

fn on_failure(gateway: Arc<Gateway>, _: &Failure, context: Arc<Context>) -> Action {
    Action::requeue(backoff(context.memory.fail(&key(&gateway)), Duration::from_secs(1), Duration::from_secs(300)))
}

/// Whether nothing more can be made, because the namespace is being deleted.
pub(crate) fn namespace_ends(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    status.details.iter().flat_map(|details| &details.causes).any(|cause| cause.reason == "NamespaceTerminating")
}

/// Where the specification of an object that cannot be read has its mistake, and which; nothing when it can be read after all.
pub(crate) fn unreadable<T: serde::de::DeserializeOwned>(spec: &serde_json::Value) -> Option<String> {
    let error = serde_path_to_error::deserialize::<_, T>(spec).err()?;
    let path = error.path().to_string();
    Some(if path == "." { format!("spec: {}", error.inner()) } else { format!("spec.{path}: {}", error.inner()) })
}

/// What an error says, without the object that the API server wraps it in.
pub(crate) fn reason(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}
