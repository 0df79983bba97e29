//! Gateways and others side by side in one namespace.

use anyhow::ensure;
use dbx_crds::gateway::Condition;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Service},
};
use kube::api::DeleteParams;
use serde_json::json;

use crate::{
    case::case,
    world::{World, managed, uid},
};

#[test]
fn two_gateways_in_a_namespace_do_not_meet() {
    case("two", async |world| {
        // A Service called `dbx` would put DBX_PORT=tcp://… into every pod that takes service links.
        world.create("dbx", &json!({ "replicas": 1, "config": managed() }))?;
        world.create("dbx-2", &json!({ "replicas": 1, "config": managed() }))?;
        world.settled("dbx").await;
        world.settled("dbx-2").await;
        world.set_and_get("dbx", "a", "of dbx").await?;
        ensure!(world.read("dbx-2", "a").await?.is_none(), "both have the same Redis");
        world.set_and_get("dbx-2", "a", "of dbx-2").await?;
        // A pod that starts after both Services exist.
        world.kubectl(&["rollout", "restart", "deployment/dbx"])?;
        world.kubectl(&["rollout", "status", "deployment/dbx", "--timeout=120s"])?;
        world.settled("dbx").await;

        world.kubectl(&["delete", "dbxgateway/dbx-2", "--timeout=60s"])?;
        world.gone::<Deployment>("dbx-2", crate::world::DEADLINE).await;
        ensure!(world.read("dbx", "a").await? == Some("of dbx".into()), "the other gateway lost its data");
        world.settled("dbx").await;
        Ok(())
    });
}

/// An object of somebody else's under a name that a gateway needs.
async fn in_the_way(world: &World, gateway: &str, foreign: serde_json::Value) -> anyhow::Result<()> {
    world.apply(&foreign.to_string())?;
    world.create(gateway, &json!({ "replicas": 1, "config": managed() }))?;
    let message = world.condition(gateway, Condition::Accepted, "False", "NameConflict").await;
    let name = foreign["metadata"]["name"].as_str().unwrap_or_default();
    ensure!(message.contains(name) && message.contains(foreign["kind"].as_str().unwrap_or_default()), "{message}");
    // Nothing else was made either.
    let made = world.kubectl(&[
        "get",
        "deployments,statefulsets,pvc",
        "--selector",
        &format!("app.kubernetes.io/instance={gateway}"),
        "--output",
        "name",
    ])?;
    ensure!(made.is_empty(), "{made}");
    Ok(())
}

#[test]
fn a_foreign_object_of_the_same_name_is_left_alone() {
    case("foreign", async |world| {
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": "taken" },
            "spec": { "selector": { "app": "mine" }, "ports": [{ "port": 80 }] },
        });
        in_the_way(world, "taken", service).await?;
        let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "other-redis" }, "data": { "mine": "yes" } });
        in_the_way(world, "other", map).await?;
        let kept: Service = world.get("taken").await?;
        let spec = kept.spec.clone().unwrap_or_default();
        ensure!(spec.selector.unwrap_or_default().get("app").is_some_and(|app| app == "mine"), "the foreign Service was changed");
        ensure!(kept.metadata.owner_references.is_none(), "the foreign Service was adopted");
        let map: ConfigMap = world.get("other-redis").await?;
        ensure!(map.data.unwrap_or_default().get("mine").is_some_and(|mine| mine == "yes"), "the foreign ConfigMap was changed");

        world.api::<Service>().delete("taken", &DeleteParams::default()).await?;
        world.settled("taken").await;
        ensure!(uid(&world.get::<Service>("taken").await?) != uid(&kept), "the Service is still the foreign one");
        world.set_and_get("taken", "a", "1").await?;
        // Deleting a gateway that was never accepted leaves what is not its own.
        world.kubectl(&["delete", "dbxgateway/other", "--timeout=60s"])?;
        world.get::<ConfigMap>("other-redis").await?;
        Ok(())
    });
}
