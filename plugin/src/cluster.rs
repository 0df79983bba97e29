//! What is read from the API server: gateways, their pods, their keys.

use std::{error::Error, fmt::Debug, time::Duration};

use anyhow::{Context, anyhow, bail};
use dbx_crds::{
    api_key::DbxApiKey,
    gateway::pods::{COMPONENT, selector},
};
use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{ContainerStatus, Pod},
};
use kube::{
    Api, Client, Config, Resource, ResourceExt,
    api::ListParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde::de::DeserializeOwned;

use crate::{args::Target, problem::Asked};

/// How long the API server may take to accept a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// A kind of object in namespaces.
pub(crate) trait Kind: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned {}

impl<K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned> Kind for K {}

/// The API server, and the namespace that is meant.
pub(crate) struct Cluster {
    client: Client,
    pub(crate) namespace: String,
}

impl Cluster {
    pub(crate) async fn connect(target: &Target) -> anyhow::Result<Self> {
        const NONE: &str = "no cluster: neither KUBECONFIG nor ~/.kube/config names one that can be used";
        let mut config = match &target.context {
            // Of the two places it is the kubeconfig that people meant.
            None => Config::infer().await.map_err(|error| anyhow!("{NONE}: {}", error.source().unwrap_or(&error)))?,
            context => {
                let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
                Config::from_custom_kubeconfig(Kubeconfig::read().context(NONE)?, &options).await.context(NONE)?
            }
        };
        config.connect_timeout = Some(PATIENCE);
        let namespace = target.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        Ok(Self { client: Client::try_from(config)?, namespace })
    }

    /// The keys that a gateway may have: those of every namespace, or where that is forbidden of its own.
    pub(crate) async fn keys(&self, namespace: &str) -> anyhow::Result<Vec<DbxApiKey>> {
        match self.list("", "").await {
            Err(_) if !namespace.is_empty() => self.list(namespace, "").await,
            keys => keys,
        }
    }

    /// The pods of a gateway of the namespace; of all gateways when there is no name, and of all namespaces when that is empty.
    pub(crate) async fn pods(&self, namespace: &str, gateway: Option<&str>) -> anyhow::Result<Vec<Pod>> {
        let labels = selector(gateway.unwrap_or_default(), COMPONENT).into_iter().filter(|(_, value)| !value.is_empty());
        let labels: Vec<String> = labels.map(|(label, value)| format!("{label}={value}")).collect();
        let mut pods: Vec<Pod> = self.list(namespace, &labels.join(",")).await?;
        pods.sort_by_key(ResourceExt::name_any);
        Ok(pods)
    }

    /// Pods that answer; with none, an error that says how they are.
    pub(crate) async fn ready_pods(&self, gateway: &str) -> anyhow::Result<Vec<Pod>> {
        let pods = self.pods(&self.namespace, Some(gateway)).await?;
        let states: Vec<String> = pods.iter().map(|pod| format!("{}: {}", pod.name_any(), trouble(pod).unwrap_or_default())).collect();
        let ready: Vec<Pod> = pods.into_iter().filter(|pod| trouble(pod).is_none()).collect();
        match (ready.is_empty(), states.is_empty()) {
            (false, _) => Ok(ready),
            (true, true) => bail!("{gateway} has no pods; `kubectl dbx status {gateway}` says why"),
            (true, false) => bail!("no pod of {gateway} is ready: {}", states.join("; ")),
        }
    }

    pub(crate) fn api<K: Kind>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Something that is asked about an object of the namespace.
    pub(crate) fn asked<'a>(&'a self, verb: &'static str, resource: &str, name: &'a str) -> Asked<'a> {
        Asked { verb, resource: resource.to_owned(), name, namespace: &self.namespace }
    }

    /// An object of the namespace.
    pub(crate) async fn get<K: Kind>(&self, name: &str) -> anyhow::Result<K> {
        self.api::<K>().get(name).await.map_err(|error| self.asked("get", &resource::<K>(), name).failed(error))
    }

    /// The objects of a namespace with these labels; of all namespaces when it is empty.
    pub(crate) async fn list<K: Kind>(&self, namespace: &str, labels: &str) -> anyhow::Result<Vec<K>> {
        let api: Api<K> = match namespace {
            "" => Api::all(self.client.clone()),
            namespace => Api::namespaced(self.client.clone(), namespace),
        };
        let asked = Asked { verb: "list", resource: resource::<K>(), name: "", namespace };
        Ok(api.list(&ListParams::default().labels(labels)).await.map_err(|error| asked.failed(error))?.items)
    }
}

/// The plural of a kind, and its group.
fn resource<K: Kind>() -> String {
    format!("{}.{}", K::plural(&()), K::group(&())).trim_end_matches('.').to_owned()
}

/// The end of a pod's name, which tells it from the others of its gateway.
pub(crate) fn short(pod: &str) -> &str {
    pod.rsplit('-').next().unwrap_or(pod)
}

/// Why a pod is not ready, if it is not.
pub(crate) fn trouble(pod: &Pod) -> Option<String> {
    if pod.metadata.deletion_timestamp.is_some() {
        return Some("is being deleted".into());
    }
    let status = pod.status.as_ref();
    let conditions = || status.iter().flat_map(|status| status.conditions.iter().flatten());
    if conditions().any(|found| found.type_ == "Ready" && found.status == "True") {
        return None;
    }
    let state = container(pod).and_then(|container| container.state.as_ref());
    let words = |reason: &Option<String>, message: &Option<String>| {
        let words = [reason, message].map(|word| word.as_deref().unwrap_or_default().trim());
        words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(": ")
    };
    let waiting = state.and_then(|state| state.waiting.as_ref()).map(|waiting| words(&waiting.reason, &waiting.message));
    let ended = state.and_then(|state| state.terminated.as_ref()).map(|ended| words(&ended.reason, &ended.message));
    // Why it ended before says more than that it is started again.
    let last = container(pod).and_then(|container| container.last_state.as_ref()?.terminated.as_ref());
    let last = last.and_then(|last| last.message.as_deref()).map(|message| format!("; before: {}", message.trim()));
    let unscheduled = conditions().find(|found| found.type_ == "PodScheduled" && found.status == "False");
    let unscheduled = unscheduled.map(|found| words(&found.reason, &found.message));
    let phase = || status.and_then(|status| status.phase.clone()).filter(|phase| phase != "Running");
    let said = waiting.or(ended).or(unscheduled).or_else(phase).unwrap_or_else(|| "runs, and is not ready".into());
    Some(format!("{said}{}", last.unwrap_or_default()))
}

/// The container that serves.
pub(crate) fn container(pod: &Pod) -> Option<&ContainerStatus> {
    let mut containers = pod.status.as_ref()?.container_statuses.as_ref()?.iter();
    containers.find(|container| container.name == COMPONENT)
}
