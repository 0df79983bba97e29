//! The loop: one gateway at a time through resolve, validate, desired, apply and status, many gateways at once. A failure
//! costs the one gateway a delay.

mod pipeline;

use std::{sync::Arc, time::Duration};

use dbx_crds::gateway::RECONCILE_AT;
use futures::StreamExt;
use kube::{
    Api, Client, Resource, ResourceExt,
    runtime::{
        Controller, WatchStreamExt,
        controller::{Action, Config, Error},
        reflector::store,
        watcher,
    },
};

use crate::{
    args::Run,
    children::{Children, Gateway},
    desired::{Kind, Settings},
    events::Events,
    health::Health,
    listed::Listed,
    memory::Memory,
    metrics::Metrics,
    retry::backoff,
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
pub(crate) fn kinds() -> impl Iterator<Item = &'static str> {
    Kind::ALL.into_iter().map(Kind::name).chain([KIND])
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
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) -> anyhow::Result<()> {
    let (children, changed) = Children::watch(&client, &metrics, &listed);
    let (gateways, writer) = store::<Gateway>();
    let watched = watcher(Api::<Gateway>::all(client.clone()), watcher::Config::default())
        .modify(|gateway| gateway.meta_mut().managed_fields = None)
        .default_backoff()
        .reflect(writer)
        .inspect({
            let listed = listed.clone();
            move |event| listed.note(KIND, event)
        })
        .applied_objects()
        .predicate_filter(news, Default::default());
    let context = Arc::new(Context {
        client: client.clone(),
        children,
        settings: Settings::from(args),
        memory: Memory::default(),
        events: Events::new(client),
        metrics: metrics.clone(),
        health,
        listed,
        resync: Duration::from_secs(args.resync),
        probe: Duration::from_secs(args.probe),
    });
    Controller::for_stream(watched, gateways.clone())
        .reconcile_on(changed)
        .with_config(Config::default().concurrency(args.concurrency))
        .graceful_shutdown_on(stop)
        .run(reconcile, on_failure, context.clone())
        .for_each(|result| {
            metrics.gateways.set(gateways.len() as i64);
            match result {
                Ok(_) => {}
                Err(Error::ObjectNotFound(reference)) => context.memory.forget(&format!("{}/{}", reference.namespace.clone().unwrap_or_default(), reference.name)),
                Err(Error::ReconcilerFailed(error, reference)) => {
                    tracing::warn!(gateway = %format!("{}/{}", reference.namespace.clone().unwrap_or_default(), reference.name), error = %error, "a gateway could not be dealt with and is tried again");
                }
                Err(Error::QueueError(error)) => {
                    metrics.watch_errors.with_label_values(&[KIND]).inc();
                    tracing::warn!(kind = KIND, error = %error, "a watch ended and is started again");
                }
                Err(error) => tracing::error!(error = %error, "the reconcile loop reports an error"),
            }
            std::future::ready(())
        })
        .await;
    Ok(())
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
    let _running = context.health.start();
    let start = std::time::Instant::now();
    let key = key(&gateway);
    let mut notes = context.memory.take(&key, gateway.meta().uid.as_deref().unwrap_or_default());
    let work = async {
        match &gateway.0 {
            Ok(gateway) => pipeline::reconcile(gateway, &context, &mut notes).await,
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
    context.metrics.reconciles.with_label_values(&[word]).inc();
    context.metrics.durations.with_label_values(&[word]).observe(start.elapsed().as_secs_f64());
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

/// What an error says, without the object that the API server wraps it in.
pub(crate) fn reason(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}
