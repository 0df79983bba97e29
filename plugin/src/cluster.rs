//! What is read from the API server: gateways, their pods, their keys.

use std::{fmt::Debug, time::Duration};

use anyhow::{Context, anyhow, bail};
use dbx_crds::{
    api_key::DbxApiKey,
    gateway::pods::{COMPONENT, selector, trouble},
};
use k8s_openapi::{NamespaceResourceScope, api::core::v1::Pod};
use kube::{
    Api, Client, Config, Error, Resource, ResourceExt,
    api::ListParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde::de::DeserializeOwned;

use crate::args::Target;

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
            None => Config::infer().await.context(NONE)?,
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

    /// The names of pods that answer; with none, an error that says how they are.
    pub(crate) async fn ready_pods(&self, gateway: &str) -> anyhow::Result<Vec<String>> {
        let pods = self.pods(&self.namespace, Some(gateway)).await?;
        let (ready, waiting): (Vec<_>, Vec<_>) = pods.into_iter().partition(|pod| trouble(pod).is_none());
        if ready.is_empty() && waiting.is_empty() {
            bail!("{gateway} has no pods; `kubectl dbx status {gateway}` says why");
        } else if ready.is_empty() {
            let waiting = waiting.iter().map(|pod| format!("{}: {}", pod.name_any(), trouble(pod).unwrap_or_default()));
            bail!("no pod of {gateway} is ready: {}", waiting.collect::<Vec<_>>().join("; "));
        }
        Ok(ready.iter().map(ResourceExt::name_any).collect())
    }

    pub(crate) fn api<K: Kind>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// An object of the namespace.
    pub(crate) async fn get<K: Kind>(&self, name: &str) -> anyhow::Result<K> {
        self.api().get(name).await.map_err(failed).with_context(|| format!("in the namespace {}", self.namespace))
    }

    /// The objects of a namespace with these labels; of all namespaces when it is empty.
    pub(crate) async fn list<K: Kind>(&self, namespace: &str, labels: &str) -> anyhow::Result<Vec<K>> {
        let api: Api<K> = match namespace {
            "" => Api::all(self.client.clone()),
            namespace => Api::namespaced(self.client.clone(), namespace),
        };
        Ok(api.list(&ListParams::default().labels(labels)).await.map_err(failed)?.items)
    }
}

/// What went wrong, in words that say what to do about it. Of what is forbidden the API server names verb and resource.
pub(crate) fn failed(error: Error) -> anyhow::Error {
    match error {
        Error::Api(status) => match (status.code, status.details.as_ref().filter(|details| !details.name.is_empty())) {
            (401, _) => anyhow!("the API server does not know you: {}; do the credentials of your kubeconfig still hold?", status.message),
            (404, Some(missing)) => anyhow!("no {} {}", format!("{}.{}", missing.kind, missing.group).trim_end_matches('.'), missing.name),
            (404, None) => anyhow!("the definitions (CRDs) are not installed; `helm install dbx charts/dbx-operator` installs them"),
            _ => anyhow!(status.message),
        },
        Error::Service(error) => anyhow::Error::from_boxed(error).context("the API server does not answer"),
        error => error.into(),
    }
}

/// The end of a pod's name, which tells it from the others of its gateway.
pub(crate) fn short(pod: &str) -> &str {
    pod.rsplit('-').next().unwrap_or(pod)
}
