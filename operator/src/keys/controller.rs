//! The loop over keys.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use dbx_crds::{
    api_key::{DbxApiKey, DbxApiKeyStatus},
    gateway::{DbxGateway, Reason},
};
use futures::{Stream, StreamExt, stream};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{PartialObjectMeta, Patch, PatchParams},
    core::DeserializeGuard,
    runtime::{
        WatchStreamExt,
        reflector::{Store, store::Writer},
        watcher,
    },
};
use serde_json::json;

use super::{
    KIND,
    accept::{Refusal, accept, gateway_of},
    file::Record,
    plan::{Found, Step, plan},
    registry::Registry,
    revision,
    secrets::{self, ASKED_BY, Look},
    status::{Outcome, status},
    unreadable,
};
use crate::{
    controller::{Failure, namespace_ends, reason},
    events::Events,
    listed::Listed,
    metrics::Metrics,
    names::MANAGER,
    news::{self, Name, Watch, Worth, name_of},
    pods, probe,
    queue::{Next, Urgency},
    retry::{backoff, jittered},
    scope::Scope,
    status::{self as gateway_status, Finding},
};

pub(crate) type ApiKey = DeserializeGuard<DbxApiKey>;

/// What every look at a key may use.
pub(crate) struct Worker {
    pub(crate) client: Client,
    pub(crate) registry: Arc<Registry>,
    pub(crate) events: Events,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) listed: Arc<Listed>,
    pub(crate) resync: Duration,
    pub(crate) notes: Mutex<HashMap<Name, Notes>>,
}

/// What is remembered of a key between two looks.
#[derive(Clone, Default)]
pub(crate) struct Notes {
    uid: Option<String>,
    /// Looks in a row that failed or found it waiting.
    tries: u32,
    /// The status that was last written, which may be newer than the one in the cache.
    status: Option<DbxApiKeyStatus>,
}

/// How soon it is looked again whether a Secret that is in the way is gone.
const CONFLICT: Duration = Duration::from_secs(30);
/// How long one look may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// More steps than a key can need in one look.
const STEPS: usize = 10;
/// Pods that are asked at once.
const ASKED: usize = 16;

/// Watches keys; those that have to be looked at, and how urgently.
pub(crate) fn watch(
    worker: Arc<Worker>,
    scope: Scope,
    keys: Store<ApiKey>,
    writer: Writer<ApiKey>,
) -> impl Stream<Item = (Name, Urgency)> + Send + 'static {
    let watch = Watch { kind: KIND, metrics: worker.metrics.clone() };
    let events = watcher(scope.api::<ApiKey>(&worker.client), watcher::Config::default())
        .modify(|key| key.meta_mut().managed_fields = None)
        .default_backoff()
        .reflect(writer)
        .inspect(move |event| worker.saw(event, &scope));
    news::changed(events, watch, keys, worth)
}

/// What makes a change of a key worth a look: not its status, which is ours.
fn worth(key: &ApiKey) -> Worth {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    let meta = key.meta();
    (&meta.uid, meta.generation, &meta.deletion_timestamp.is_some()).hash(&mut hasher);
    ASKED_BY.map(|asked| meta.annotations.as_ref().and_then(|annotations| annotations.get(asked))).hash(&mut hasher);
    let is_observed = key.0.as_ref().is_ok_and(|key| is_observed(key) && meta.deletion_timestamp.is_none());
    Worth { sum: hasher.finish(), is_observed }
}

/// Whether a key was looked at since it was changed.
pub(super) fn is_observed(key: &DbxApiKey) -> bool {
    key.status.as_ref().and_then(|status| status.observed_generation) == key.metadata.generation
}

impl Worker {
    /// What came of a look at a key: when the next is due, and the word for how it ended.
    pub(crate) async fn look(&self, name: &Name) -> (Next, Option<&'static str>) {
        let Some(key) = self.registry.key(name) else {
            self.notes().remove(name);
            return (Next::Change, None);
        };
        let result = match &key.0 {
            // A gateway takes it no more, from the moment that it is to go.
            Ok(key) if key.metadata.deletion_timestamp.is_some() => {
                self.registry.look_at_gateway(&gateway_of(key), Urgency::Urgent);
                return (Next::Change, None);
            }
            Ok(key) => match tokio::time::timeout(PATIENCE, self.look_at(key)).await {
                Ok(Err(Failure::Api(error))) if namespace_ends(&error) => Ok(Next::Change),
                Ok(result) => result,
                Err(_) => Err(Failure::Late(PATIENCE)),
            },
            Err(_) => unreadable::reject(&self.client, &key).await.map(|()| Next::After(jittered(self.resync))).map_err(Failure::Api),
        };
        match result {
            Ok(next) => (next, Some("ok")),
            Err(error) => {
                tracing::warn!(key = format!("{}/{}", name.0, name.1), error = %error, "a key could not be dealt with and is tried again");
                let mut notes = self.notes();
                let notes = notes.entry(name.clone()).or_default();
                notes.tries += 1;
                (Next::Again(backoff(notes.tries - 1, Duration::from_secs(1), Duration::from_secs(300))), Some("error"))
            }
        }
    }

    fn notes(&self) -> std::sync::MutexGuard<'_, HashMap<Name, Notes>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a watch's event that has reached the store.
    fn saw(&self, event: &watcher::Result<watcher::Event<ApiKey>>, scope: &Scope) {
        match event {
            Ok(watcher::Event::Delete(key)) => self.registry.forget(&(key.namespace().unwrap_or_default(), key.name_any())),
            Ok(watcher::Event::InitDone) => self.registry.relisted(scope),
            // A cluster whose definitions are those of an older version has no keys.
            Err(watcher::Error::InitialListFailed(kube::Error::Api(status))) if status.code == 404 => self.listed.skip(KIND, scope),
            _ => {}
        }
        self.listed.note(KIND, scope, event);
    }

    /// Does what has to be done, as far as it can be done now.
    async fn look_at(&self, key: &DbxApiKey) -> Result<Next, Failure> {
        let gateway = self.registry.gateway(&gateway_of(key));
        let (mut failure, mut records) = (None, Vec::new());
        let Progress { outcome, wait } = match accept(key, gateway.as_ref()) {
            Ok(gateway) => match self.step_by_step(key, gateway, &mut records).await {
                Ok(progress) => progress,
                Err(error) => {
                    let finding = Finding::new(Reason::ApplyFailed, reason(&error));
                    failure = Some(error);
                    Outcome::Failed(finding).into()
                }
            },
            Err(refusal) => {
                let look = secrets::look(&self.client, key).await?;
                self.registry.note(key, look.records());
                records = look.secret.records().to_vec();
                Outcome::Refused(refusal).into()
            }
        };
        self.write_status(key, &outcome, &records).await?;
        if let Some(error) = failure {
            return Err(error.into());
        }
        let mut notes = self.notes();
        let notes = notes.entry(name_of(key)).or_default();
        notes.tries = if matches!(outcome, Outcome::Waiting(_)) { notes.tries + 1 } else { 0 };
        Ok(match outcome {
            Outcome::Waiting(_) => Next::Again(backoff(notes.tries - 1, Duration::from_millis(250), Duration::from_secs(10))),
            // Secrets are not watched.
            Outcome::Refused(Refusal::Rejected(Finding { reason: Reason::SecretConflict, .. })) => {
                Next::After(jittered(CONFLICT.min(self.resync)))
            }
            _ => Next::After(jittered(wait.map_or(self.resync, |wait| wait.min(self.resync)).max(Duration::from_millis(500)))),
        })
    }

    async fn step_by_step(&self, key: &DbxApiKey, gateway: &DbxGateway, records: &mut Vec<Record>) -> kube::Result<Progress> {
        let url = gateway_status::url(gateway);
        for _ in 0..STEPS {
            let look = secrets::look(&self.client, key).await?;
            *records = look.secret.records().to_vec();
            for (found, secret) in [(&look.secret, key.spec.secret_name.clone()), (&look.pending, secrets::pending_name(key))] {
                if *found == Found::Foreign {
                    let message = format!("Secret {}/{secret} exists and does not belong to this key", key.namespace().unwrap_or_default());
                    self.registry.note(key, look.records());
                    return Ok(Outcome::Refused(Refusal::Rejected(Finding::new(Reason::SecretConflict, message))).into());
                }
            }
            let step = plan(key, &look.secret, &look.pending, Timestamp::now());
            // What has expired is refused by the gateway itself, and leaves the file with the Secret's annotation.
            self.registry.note(key, look.records());
            match step {
                Step::Mint => secrets::mint(&self.client, key, Timestamp::now()).await?,
                Step::Discard | Step::Finish => secrets::discard(&self.client, key, &look.pending).await?,
                Step::Deliver(next) => {
                    if let Some(what) = self.obstacle(gateway).await? {
                        return Ok(Outcome::Waiting(what).into());
                    }
                    if !secrets::deliver(&self.client, key, &url, &next, &look).await? {
                        secrets::discard(&self.client, key, &look.pending).await?;
                    }
                }
                Step::Drop(left) => self.amend(key, &look, &left, &url).await?,
                Step::Rest(wait) => {
                    if !matches!(&look.secret, Found::Ours(ours) if ours.url.as_deref() == Some(&url)) {
                        self.amend(key, &look, look.secret.records(), &url).await?;
                        continue;
                    }
                    return Ok(Progress { outcome: Outcome::Delivered, wait });
                }
            }
        }
        Ok(Outcome::Waiting("its Secrets do not stay as they are written; something else changes them".into()).into())
    }

    async fn amend(&self, key: &DbxApiKey, look: &Look, records: &[Record], url: &str) -> kube::Result<()> {
        match &look.secret {
            Found::Ours(ours) => secrets::amend(&self.client, key, ours, records, url).await,
            _ => Ok(()),
        }
    }

    /// What stands between the gateway's file as it should be and all of its ready pods.
    async fn obstacle(&self, gateway: &DbxGateway) -> kube::Result<Option<String>> {
        let revision = revision(&self.registry.file(gateway).await?);
        if !self.registry.is_written(gateway, &revision) {
            let paused = if gateway.spec.paused() { ", which is paused" } else { "" };
            return Ok(Some(format!("the hash is not in the file of DbxGateway {} yet{paused}", gateway.name_any())));
        }
        let ready: Vec<(String, String)> = pods::ready(&pods::list(&self.client, gateway).await?);
        let file = probe::keys_path(&gateway.name_any());
        let late: Vec<String> = stream::iter(ready)
            .map(|(pod, address)| {
                let (file, revision) = (&file, &revision);
                async move { (probe::revision(&address, file).await.as_ref() != Some(revision)).then_some(pod) }
            })
            .buffer_unordered(ASKED)
            .filter_map(std::future::ready)
            .collect()
            .await;
        let told = late.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
        Ok(match late.len() {
            0 => None,
            1..=3 => Some(format!("not yet read by {told}")),
            more => Some(format!("not yet read by {told} and {} others", more - 3)),
        })
    }

    async fn write_status(&self, key: &DbxApiKey, outcome: &Outcome, records: &[Record]) -> Result<(), Failure> {
        let place = name_of(key);
        let known = key.status.clone().unwrap_or_default();
        let written = self.notes().get(&place).filter(|notes| notes.uid == key.uid()).and_then(|notes| notes.status.clone());
        let before = written.clone().unwrap_or_else(|| known.clone());
        let after = status(key.metadata.generation, &before, outcome, records, &Time(Timestamp::now()));
        if !(after == before && written.is_some() || after == known) {
            let patch = json!({
                "apiVersion": DbxApiKey::api_version(&()),
                "kind": DbxApiKey::kind(&()),
                "metadata": { "name": key.name_any(), "uid": key.uid() },
                "status": after,
            });
            let api: Api<PartialObjectMeta<DbxApiKey>> = Api::namespaced(self.client.clone(), &key.namespace().unwrap_or_default());
            let result = api.patch_status(&key.name_any(), &PatchParams::apply(MANAGER).force(), &Patch::Apply(patch)).await;
            self.metrics.statuses.with_label_values(&[if result.is_ok() { "ok" } else { "error" }]).inc();
            match result {
                Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
                result => result.map(drop)?,
            }
            self.events.publish(&key.object_ref(&()), &before.conditions, &after.conditions).await;
        }
        let mut notes = self.notes();
        let notes = notes.entry(place).or_default();
        (notes.uid, notes.status) = (key.uid(), Some(after));
        Ok(())
    }
}

/// How far a look got, and when the next is due.
struct Progress {
    outcome: Outcome,
    wait: Option<Duration>,
}

impl From<Outcome> for Progress {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, wait: None }
    }
}
