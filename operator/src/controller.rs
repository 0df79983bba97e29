//! The loop: one gateway at a time through resolve, validate, desired, apply and status, many gateways at once. A failure
//! costs the one gateway a delay.

mod pipeline;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use dbx_crds::gateway::{DbxGateway, RECONCILE_AT};
use futures::{StreamExt, channel::mpsc::unbounded, stream::SelectAll};
use kube::{
    Client, Resource,
    runtime::{
        WatchStreamExt,
        reflector::{ObjectRef, Store, store, store::Writer},
        watcher,
    },
};
use tokio::sync::watch;
use tracing::{Instrument, Span, field::Empty};

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
    news::{self, Name, Watch, Worth},
    queue::{self, Next, Turn},
    retry::backoff,
    rollouts::Rollouts,
    scope::Scope,
};

/// What every reconcile may use.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) scope: Scope,
    pub(crate) gateways: Store<Gateway>,
    pub(crate) children: Children,
    pub(crate) settings: Settings,
    pub(crate) memory: Memory,
    pub(crate) events: Events,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) apis: discovery::Known,
    pub(crate) rollouts: Arc<Rollouts>,
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
    let (ask, asked) = unbounded();
    let (mut triggers, mut contexts) = (SelectAll::new(), Vec::new());
    triggers.push(asked.boxed());
    let rollouts = Arc::new(Rollouts::new(args.max_concurrent_rollouts));
    let (known, apis) = watch::channel(None);
    let settings = Settings::new(args, client.default_namespace());
    let watches: Vec<Watched> = Scope::of(&args.watch_namespaces).into_iter().map(Watched::new).collect();
    let reaches = watches.iter().map(Watched::reach).collect();
    let registry = Arc::new(Registry::new(client.clone(), reaches, ask));
    let worker = Arc::new(Worker {
        client: client.clone(),
        registry: registry.clone(),
        events: Events::new(client.clone()),
        metrics: metrics.clone(),
        listed: listed.clone(),
        resync: Duration::from_secs(args.resync),
        notes: Mutex::default(),
    });
    for Watched { scope, gateways, gateway_writer, keys, key_writer } in watches {
        let (children, touched) = Children::watch(&client, &scope, &metrics, &listed, &apis);
        triggers.push(touched.map(|(name, urgency)| (Target::Gateway(name), urgency)).boxed());
        let events = watcher(scope.api::<Gateway>(&client), watcher::Config::default())
            .modify(|gateway| gateway.meta_mut().managed_fields = None)
            .default_backoff()
            .reflect(gateway_writer)
            .inspect({
                let (listed, scope) = (listed.clone(), scope.clone());
                move |event| listed.note(KIND, &scope, event)
            });
        let changed = news::changed(events, Watch { kind: KIND, metrics: metrics.clone() }, gateways.clone(), worth);
        triggers.push(changed.map(|(name, urgency)| (Target::Gateway(name), urgency)).boxed());
        let changed = keys::watch(worker.clone(), scope.clone(), keys, key_writer);
        triggers.push(changed.map(|(name, urgency)| (Target::Key(name), urgency)).boxed());
        contexts.push(Context {
            client: client.clone(),
            scope,
            gateways,
            children,
            settings: settings.clone(),
            apis: apis.clone(),
            memory: Memory::default(),
            events: Events::new(client.clone()),
            metrics: metrics.clone(),
            registry: registry.clone(),
            rollouts: rollouts.clone(),
            resync: Duration::from_secs(args.resync),
            probe: Duration::from_secs(args.probe),
        });
    }
    let look = async |turn: Turn<Target>, span: Span| {
        let _running = health.start();
        let kind = turn.target.kind();
        metrics.waits.with_label_values(&[kind]).observe(turn.waited.as_secs_f64());
        let start = Instant::now();
        let (next, word) = match &turn.target {
            Target::Key(name) => worker.look(name).await,
            Target::Gateway(name) => match contexts.iter().find(|context| context.scope.covers(&name.0)) {
                Some(context) => look(name, context).await,
                None => return Next::Change,
            },
        };
        if let Some(word) = word {
            span.record("result", word);
            metrics.reconciles.with_label_values(&[kind, word]).inc();
            metrics.durations.with_label_values(&[kind, word]).observe(start.elapsed().as_secs_f64());
        }
        metrics.gateways.set(contexts.iter().map(|context| context.gateways.len()).sum::<usize>() as i64);
        next
    };
    let look = |turn: Turn<Target>| {
        let (Target::Gateway((namespace, name)) | Target::Key((namespace, name))) = &turn.target;
        let span = tracing::info_span!(
            "reconcile",
            kind = turn.target.kind(),
            namespace,
            name,
            urgency = ?turn.urgency,
            waited = turn.waited.as_secs_f64(),
            generation = Empty,
            result = Empty
        );
        look(turn, span.clone()).instrument(span)
    };
    let queue = queue::run(triggers, args.concurrency.into(), listed.complete(), stop, look);
    let discover = discovery::run(client, known, Duration::from_secs(args.discover), || registry.look_at_gateways());
    tokio::select! {
        () = queue => {}
        () = discover => {}
    }
    Ok(())
}

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Target {
    Gateway(Name),
    Key(Name),
}

impl Target {
    fn kind(&self) -> &'static str {
        match self {
            Self::Gateway(_) => KIND,
            Self::Key(_) => keys::KIND,
        }
    }
}

/// What is listed in a scope, and the ends that fill it.
struct Watched {
    scope: Scope,
    gateways: Store<Gateway>,
    gateway_writer: Writer<Gateway>,
    keys: Store<ApiKey>,
    key_writer: Writer<ApiKey>,
}

impl Watched {
    fn new(scope: Scope) -> Self {
        let ((gateways, gateway_writer), (keys, key_writer)) = (store(), store());
        Self { scope, gateways, gateway_writer, keys, key_writer }
    }

    fn reach(&self) -> Reach {
        Reach { scope: self.scope.clone(), gateways: self.gateways.clone(), keys: self.keys.clone() }
    }
}

/// What makes a change of a gateway worth a look: not its status, which is ours.
fn worth(gateway: &Gateway) -> Worth {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    let meta = gateway.meta();
    (&meta.uid, meta.generation, &meta.deletion_timestamp.is_some()).hash(&mut hasher);
    meta.annotations.as_ref().and_then(|annotations| annotations.get(RECONCILE_AT)).hash(&mut hasher);
    Worth { sum: hasher.finish(), is_observed: gateway.0.as_ref().is_ok_and(is_observed) }
}

/// Whether a gateway was looked at since it was changed.
pub(crate) fn is_observed(gateway: &DbxGateway) -> bool {
    let observed = gateway.status.as_ref().and_then(|status| status.observed_generation);
    observed == gateway.metadata.generation
}

/// What came of a look at a gateway: when the next is due, and the word for how it ended.
async fn look((namespace, name): &Name, context: &Context) -> (Next, Option<&'static str>) {
    let key = format!("{namespace}/{name}");
    let Some(gateway) = context.gateways.get(&ObjectRef::new(name).within(namespace)) else {
        context.memory.forget(&key);
        context.registry.lost(namespace, name);
        context.rollouts.end(namespace, name);
        return (Next::Change, None);
    };
    if gateway.meta().deletion_timestamp.is_some() {
        return (Next::Change, None);
    }
    Span::current().record("generation", gateway.meta().generation);
    match reconcile(&gateway, &key, context).await {
        Ok(next) => (next, Some("ok")),
        Err(error) => {
            tracing::warn!(gateway = key, error = %error, "a gateway could not be dealt with and is tried again");
            let wait = backoff(context.memory.fail(&key), Duration::from_secs(1), Duration::from_secs(300));
            (Next::Again(wait), Some("error"))
        }
    }
}

async fn reconcile(gateway: &Gateway, key: &str, context: &Context) -> Result<Next, Failure> {
    let mut notes = context.memory.take(key, gateway.meta().uid.as_deref().unwrap_or_default());
    let work = async {
        match &gateway.0 {
            Ok(gateway) => {
                // When nobody looks any more the operator ends.
                let apis = context.apis.clone().wait_for(Option::is_some).await.ok().and_then(|apis| apis.clone()).unwrap_or_default();
                pipeline::reconcile(gateway, &apis, context, &mut notes).await
            }
            Err(_) => pipeline::reject_unreadable(gateway, context, &mut notes).await,
        }
    };
    let result = match tokio::time::timeout(PATIENCE, work).await {
        // The gateway goes with its namespace.
        Ok(Err(Failure::Api(error))) if namespace_ends(&error) => Ok(Next::Change),
        Ok(result) => result,
        Err(_) => Err(Failure::Late(PATIENCE)),
    };
    if result.is_ok() {
        notes.failures = 0;
    }
    context.memory.put(key.to_owned(), notes);
    result
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
