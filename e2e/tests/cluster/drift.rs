//! Whatever somebody else does to what the operator made is undone within seconds.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use dbx_crds::gateway::DbxGateway;
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::{Deployment, StatefulSet},
        core::v1::{ConfigMap, Secret, Service, ServiceAccount},
        policy::v1::PodDisruptionBudget,
    },
};
use kube::{
    Resource,
    api::{DeleteParams, Patch, PatchParams},
};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::{
    case::case,
    suite::say,
    world::{DEADLINE, World, managed, uid},
};

/// How soon a deleted child has to be back.
const BACK_WITHIN: Duration = Duration::from_secs(20);

async fn deleted_and_back<K>(world: &World, name: &str) -> anyhow::Result<()>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let before: K = world.get(name).await?;
    world.api::<K>().delete(name, &DeleteParams::background()).await?;
    let start = Instant::now();
    world
        .until(&format!("{} {name} is back", K::kind(&())), BACK_WITHIN, async || {
            let after: K = world.get(name).await?;
            ensure!(uid(&after) != uid(&before) && after.meta().deletion_timestamp.is_none(), "it is still the old one");
            Ok(())
        })
        .await;
    say(&format!("a deleted {} is back after {:.1?}", K::kind(&()), start.elapsed()));
    Ok(())
}

#[test]
fn a_deleted_child_comes_back() {
    case("deleted-child", async |world| {
        world.create("cache", &json!({ "replicas": 2, "config": managed() }))?;
        let gateway = world.settled("cache").await;
        world.set_and_get("cache", "a", "1").await?;
        let hash = gateway.status.unwrap_or_default().config_hash.context("no hash")?;

        deleted_and_back::<Service>(world, "cache").await?;
        deleted_and_back::<ServiceAccount>(world, "cache").await?;
        deleted_and_back::<PodDisruptionBudget>(world, "cache").await?;
        deleted_and_back::<ConfigMap>(world, &format!("cache-config-{hash}")).await?;
        deleted_and_back::<Deployment>(world, "cache").await?;
        deleted_and_back::<ConfigMap>(world, "cache-redis").await?;
        deleted_and_back::<Service>(world, "cache-redis").await?;
        deleted_and_back::<StatefulSet>(world, "cache-redis").await?;
        world.settled("cache").await;
        world
            .until("calls succeed and the data is there", DEADLINE, async || {
                ensure!(world.read("cache", "a").await? == Some("1".into()), "the value is gone");
                Ok(())
            })
            .await;
        Ok(())
    });
}

#[test]
fn a_deleted_password_is_minted_anew_and_used() {
    case("deleted-password", async |world| {
        world.create("cache", &json!({ "replicas": 1, "config": managed() }))?;
        world.settled("cache").await;
        world.set_and_get("cache", "a", "1").await?;
        let before: Secret = world.get("cache-redis-auth").await?;
        world.api::<Secret>().delete("cache-redis-auth", &DeleteParams::default()).await?;
        // Secrets are not watched; the next look finds it missing.
        world.patch("cache", json!({ "metadata": { "annotations": { "dbx.dev/reconcile-at": "now" } } })).await?;
        world
            .until("the Secret is back", BACK_WITHIN, async || {
                let after: Secret = world.get("cache-redis-auth").await?;
                ensure!(uid(&after) != uid(&before), "it is still the old one");
                Ok(())
            })
            .await;
        world.until("calls succeed with the new password", DEADLINE, async || world.set_and_get("cache", "b", "2").await).await;
        ensure!(world.read("cache", "a").await? == Some("1".into()), "the data did not survive");
        Ok(())
    });
}

#[test]
fn a_changed_child_is_changed_back() {
    case("changed-child", async |world| {
        world.create("cache", &json!({ "replicas": 1, "config": managed() }))?;
        world.settled("cache").await;
        let params = PatchParams::default();
        let port = Patch::Strategic(json!({ "spec": { "ports": [{ "port": 3000, "targetPort": 1 }] } }));
        world.api::<Service>().patch("cache", &params, &port).await?;
        world
            .until("the Service leads to the pods again", BACK_WITHIN, async || {
                let service: Service = world.get("cache").await?;
                let ports = serde_json::to_value(service.spec.and_then(|spec| spec.ports))?;
                ensure!(ports[0]["targetPort"] == "http", "{ports}");
                Ok(())
            })
            .await;
        world.kubectl(&["scale", "deployment/cache", "--replicas=3"])?;
        world
            .until("the Deployment has as many replicas as its gateway", BACK_WITHIN, async || {
                let deployment: Deployment = world.get("cache").await?;
                let replicas = deployment.spec.and_then(|spec| spec.replicas);
                ensure!(replicas == Some(1), "{replicas:?}");
                Ok(())
            })
            .await;
        // Somebody else's field on the same object is left alone.
        let note = Patch::Merge(json!({ "metadata": { "annotations": { "example.com/note": "kept" } } }));
        world.api::<Service>().patch("cache", &params, &note).await?;
        world.patch("cache", json!({ "spec": { "service": { "annotations": { "example.com/ours": "too" } } } })).await?;
        world
            .until("both annotations", BACK_WITHIN, async || {
                let annotations = world.get::<Service>("cache").await?.metadata.annotations.unwrap_or_default();
                ensure!(annotations.len() >= 2, "{annotations:?}");
                Ok(())
            })
            .await;
        let gateway: DbxGateway = world.get("cache").await?;
        ensure!(gateway.spec.replicas == Some(1), "the gateway itself was changed");
        Ok(())
    });
}
