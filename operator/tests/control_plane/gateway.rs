//! A gateway in a namespace of its own, and what a test asks about it.

use std::time::{Duration, Instant};

use dbx_crds::gateway::{DbxGateway, DbxGatewayStatus};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{apps::v1::Deployment, core::v1::ConfigMap},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DynamicObject, ListParams, Patch, PatchParams, PostParams},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::cluster::{Cluster, DEADLINE, cluster, namespace};

/// A namespace with the gateway under test.
pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

pub(crate) type Result<T = ()> = kube::Result<T>;

/// A configuration with a managed Redis.
pub(crate) fn managed() -> Value {
    json!({ "databases": [{ "name": "redis", "redis": { "managed": {} } }], "auth": { "mode": "none" } })
}

impl World {
    pub(crate) async fn new(name: &str) -> Self {
        Self::on(cluster(), name).await
    }

    pub(crate) async fn on(cluster: &Cluster, name: &str) -> Self {
        let client = cluster.admin().await;
        let namespace = namespace(&client, name).await;
        Self { client, namespace }
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) async fn create(&self, name: &str, spec: Value) -> Result<DbxGateway> {
        let object = json!({ "apiVersion": "dbx.dev/v1alpha1", "kind": "DbxGateway", "metadata": { "name": name }, "spec": spec });
        let resource = kube::api::ApiResource::erase::<DbxGateway>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, &resource);
        let made = api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await?;
        Ok(made.try_parse().unwrap())
    }

    pub(crate) async fn patch(&self, name: &str, patch: Value) -> Result<DbxGateway> {
        self.api::<DbxGateway>().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await
    }

    /// Waits until the newest generation has a condition with this status and reason.
    pub(crate) async fn condition(&self, name: &str, condition: &str, status: &str, reason: &str) -> String {
        let wanted = |gateway: &DbxGateway| {
            let found = conditions(gateway).into_iter().find(|found| found.0 == condition)?;
            let current = gateway.status.as_ref()?.observed_generation == gateway.metadata.generation;
            (current && found.1 == status && found.2 == reason).then_some(found.3)
        };
        let start = Instant::now();
        loop {
            let gateway = self.api::<DbxGateway>().get(name).await.unwrap();
            if let Some(message) = wanted(&gateway) {
                return message;
            }
            assert!(
                start.elapsed() < DEADLINE,
                "{name} does not get {condition}={status}/{reason}; it has {:#?}\n{}",
                conditions(&gateway),
                cluster().log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn programmed(&self, name: &str) {
        self.condition(name, "Programmed", "True", "Programmed").await;
    }

    pub(crate) async fn status(&self, name: &str) -> DbxGatewayStatus {
        self.api::<DbxGateway>().get(name).await.unwrap().status.unwrap()
    }

    /// Waits until something holds.
    pub(crate) async fn until<F: Future<Output = bool>>(&self, what: &str, mut holds: impl FnMut() -> F) {
        let start = Instant::now();
        while !holds().await {
            assert!(start.elapsed() < DEADLINE, "{what} does not come true\n{}", cluster().log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn exists<K>(&self, name: &str) -> bool
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
    {
        self.api::<K>().get_opt(name).await.unwrap().is_some()
    }

    /// The names of the gateways' configurations.
    pub(crate) async fn configurations(&self) -> Vec<String> {
        let maps = self.api::<ConfigMap>().list(&ListParams::default().labels("dbx.dev/config-hash")).await.unwrap();
        maps.items.iter().map(ResourceExt::name_any).collect()
    }

    /// Says of a Deployment what its controller would say, which does not run here.
    pub(crate) async fn pretend(&self, name: &str, status: Value) {
        let api: Api<Deployment> = self.api();
        let mut status = status;
        status["observedGeneration"] = json!(api.get(name).await.unwrap().metadata.generation);
        api.patch_status(name, &PatchParams::default(), &Patch::Merge(json!({ "status": status }))).await.unwrap();
    }
}

/// Type, status, reason and message of each condition.
pub(crate) fn conditions(gateway: &DbxGateway) -> Vec<(String, String, String, String)> {
    let conditions = gateway.status.iter().flat_map(|status| &status.conditions);
    conditions.map(|found| (found.type_.clone(), found.status.clone(), found.reason.clone(), found.message.clone())).collect()
}
