//! What exists: metadata of every object that the operator made, kept up to date by watches, and the status of
//! Deployments. Watches select by label, so nothing else is held; Secrets are neither listed nor watched.

use std::{collections::HashMap, sync::Arc, time::Duration};

use dbx_crds::gateway::DbxGateway;
use futures::{
    Stream, StreamExt,
    stream::{BoxStream, SelectAll},
};
use k8s_openapi::{
    api::apps::v1::{Deployment, DeploymentSpec},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind, PartialObjectMeta},
    core::DeserializeGuard,
    runtime::{
        WatchStreamExt,
        reflector::{ObjectRef, Store, store},
        watcher,
    },
};

use crate::{
    desired::{Apis, Kind},
    discovery,
    listed::Listed,
    metrics::Metrics,
    names,
    news::{self, Name, Watch},
    queue::Urgency,
    scope::Scope,
};

pub(crate) type Gateway = DeserializeGuard<DbxGateway>;
/// How long an API server may need until it serves a new API for good: what watches it before is not told of anything.
const SETTLED: Duration = Duration::from_secs(10);

type Child = PartialObjectMeta<DynamicObject>;

/// What is known of one child.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) kind: Kind,
    pub(crate) meta: ObjectMeta,
}

/// Everything that exists.
pub(crate) struct Children {
    client: Client,
    stores: HashMap<Kind, Store<Child>>,
    deployments: Store<Deployment>,
}

/// How the API names a kind.
pub(crate) fn resource(kind: Kind) -> ApiResource {
    let (group, version) = kind.api_version().rsplit_once('/').unwrap_or(("", kind.api_version()));
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind.name()), kind.plural())
}

impl Children {
    /// Starts to watch. The stream names a gateway whenever one of its children changed.
    pub(crate) fn watch(
        client: &Client,
        scope: &Scope,
        metrics: &Arc<Metrics>,
        listed: &Arc<Listed>,
        apis: &discovery::Known,
    ) -> (Self, BoxStream<'static, (Name, Urgency)>) {
        let config = || watcher::Config::default().labels(&format!("{}={}", names::MANAGED_BY, names::MANAGER));
        let watch = |kind: Kind| Watch { kind: kind.name(), metrics: metrics.clone() };
        let mut triggers = SelectAll::new();
        let mut stores = HashMap::new();
        for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Deployment) {
            let api: Api<Child> = scope.api_with(client, &resource(kind));
            let writer = kube::runtime::reflector::store::Writer::new(resource(kind));
            stores.insert(kind, writer.as_reader());
            let events = once_there(kind, apis, watcher(api, config()))
                .modify(|child: &mut Child| trim(&mut child.metadata))
                .default_backoff()
                .reflect(writer);
            triggers.push(news::owners(noted(events, kind, scope, listed), watch(kind), |child| gateway_of(&child.metadata)));
        }
        let (deployments, writer) = store();
        let events = watcher(scope.api::<Deployment>(client), config()).modify(trim_deployment).default_backoff().reflect(writer);
        let events = noted(events, Kind::Deployment, scope, listed);
        triggers.push(news::owners(events, watch(Kind::Deployment), |deployment| gateway_of(&deployment.metadata)));
        (Self { client: client.clone(), stores, deployments }, triggers.boxed())
    }

    /// The metadata of an object: from the cache, and where that has none, from the API server.
    pub(crate) async fn find(&self, kind: Kind, namespace: &str, name: &str) -> kube::Result<Option<ObjectMeta>> {
        if let Some(meta) = self.cached(kind, namespace, name) {
            return Ok(Some(meta));
        }
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &resource(kind));
        Ok(api.get_metadata_opt(name).await?.map(|object| object.metadata))
    }

    /// The same from the cache alone.
    pub(crate) fn cached(&self, kind: Kind, namespace: &str, name: &str) -> Option<ObjectMeta> {
        if kind == Kind::Deployment {
            return self.deployment(namespace, name).map(|deployment| deployment.metadata.clone());
        }
        let reference = ObjectRef::new_with(name, resource(kind)).within(namespace);
        self.stores.get(&kind)?.get(&reference).map(|child| child.metadata.clone())
    }

    /// A Deployment's metadata, replicas and status.
    pub(crate) fn deployment(&self, namespace: &str, name: &str) -> Option<Arc<Deployment>> {
        self.deployments.get(&ObjectRef::new(name).within(namespace))
    }

    /// The cached children that a gateway owns.
    pub(crate) fn owned_by(&self, namespace: &str, uid: &str) -> Vec<Known> {
        let ours = |meta: &ObjectMeta| meta.namespace.as_deref() == Some(namespace) && owner_uid(meta) == Some(uid);
        let mut known = Vec::new();
        for (kind, store) in &self.stores {
            let children = store.state_filter(|child| ours(&child.metadata));
            known.extend(children.into_iter().map(|child| Known { kind: *kind, meta: child.metadata.clone() }));
        }
        known
    }
}

/// The uid of the controller that an object belongs to.
pub(crate) fn owner_uid(meta: &ObjectMeta) -> Option<&str> {
    meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true)).map(|owner| owner.uid.as_str())
}

/// A watch that begins once the cluster has the API.
fn once_there<S: Stream>(kind: Kind, apis: &discovery::Known, watch: S) -> impl Stream<Item = S::Item> + use<S> {
    let mut apis = apis.clone();
    let there = async move {
        let has = |apis: &Option<Apis>| apis.as_ref().is_some_and(|apis| apis.kinds.contains(&kind));
        // When nobody looks any more the operator ends.
        if kind.is_optional() && !apis.wait_for(Option::is_some).await.is_ok_and(|apis| has(&apis)) {
            let _ = apis.wait_for(has).await;
            tokio::time::sleep(SETTLED).await;
        }
        watch
    };
    futures::stream::once(there).flatten()
}

fn noted<K, S: Stream<Item = watcher::Result<watcher::Event<K>>>>(
    events: S,
    kind: Kind,
    scope: &Scope,
    listed: &Arc<Listed>,
) -> impl Stream<Item = watcher::Result<watcher::Event<K>>> + use<K, S> {
    let (scope, listed) = (scope.clone(), listed.clone());
    events.inspect(move |event| listed.note(kind.name(), &scope, event))
}

/// The gateway that a child belongs to: by owner, and where there is none, by label.
fn gateway_of(meta: &ObjectMeta) -> Option<Name> {
    let owner =
        meta.owner_references.iter().flatten().find(|owner| owner.kind == "DbxGateway" && owner.api_version.starts_with("dbx.dev/"));
    let name = owner.map(|owner| &owner.name).or_else(|| meta.labels.as_ref()?.get(names::INSTANCE))?;
    Some((meta.namespace.clone()?, name.clone()))
}

fn trim(meta: &mut ObjectMeta) {
    meta.managed_fields = None;
}

/// Of a Deployment, only what a rollout's state is read from.
fn trim_deployment(deployment: &mut Deployment) {
    trim(deployment.meta_mut());
    let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas);
    deployment.spec = Some(DeploymentSpec { replicas, ..DeploymentSpec::default() });
    deployment.annotations_mut().retain(|key, _| key != "kubectl.kubernetes.io/last-applied-configuration");
}
