//! Changes under steady traffic: no call may fail.

use anyhow::ensure;
use dbx_crds::gateway::DbxGateway;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{
    Api,
    api::{DeleteParams, ListParams},
};
use serde_json::json;

use crate::{
    case::case,
    world::{DEADLINE, World, managed},
};

/// The revision that the Deployment's controller counts.
pub(crate) async fn revision(world: &World, name: &str) -> anyhow::Result<i64> {
    let deployment: Deployment = world.get(name).await?;
    let annotations = deployment.metadata.annotations.unwrap_or_default();
    Ok(annotations.get("deployment.kubernetes.io/revision").map_or("0", String::as_str).parse()?)
}

/// Waits until the Deployment has rolled out what came after a revision.
pub(crate) async fn rolled(world: &World, name: &str, before: i64) {
    world
        .until("a newer revision", DEADLINE, async || {
            let now = revision(world, name).await?;
            ensure!(now > before, "it is {now}");
            Ok(())
        })
        .await;
    world.settled(name).await;
}

/// Waits until the pods that are being replaced have ended, so that whatever they do wrong has been done.
pub(crate) async fn ended(world: &World, selector: &str, count: usize) {
    world
        .until("old pods have ended", DEADLINE, async || {
            let pods = world.api::<Pod>().list(&ListParams::default().labels(selector)).await?.items.len();
            ensure!(pods == count, "{pods} pods");
            Ok(())
        })
        .await;
}

pub(crate) fn selector(gateway: &DbxGateway) -> String {
    gateway.status.clone().unwrap_or_default().selector.unwrap_or_default()
}

#[test]
fn a_changed_setting_is_rolled_out_without_a_failed_call() {
    case("setting", async |world| {
        world.create("cache", &json!({ "replicas": 2, "config": managed() }))?;
        let before = world.settled("cache").await;
        let first = revision(world, "cache").await?;
        let traffic = world.traffic("cache").await?;

        world.patch("cache", json!({ "spec": { "config": { "limits": { "maxKeyBytes": "10" } } } })).await?;
        rolled(world, "cache", first).await;
        ended(world, &selector(&before), 2).await;
        let counts = traffic.none_failed("a changed setting").await?;
        ensure!(counts.closes > 0, "no kept connection was told to close: {counts:?}");

        let after: DbxGateway = world.get("cache").await?;
        ensure!(after.status.map(|status| status.config_hash) != before.status.map(|status| status.config_hash), "the hash is the same");
        let (status, answer) = world.call_through_api_server("GET", "cache", "/api/v1/redis/strings/longer-than-ten", "").await?;
        ensure!(status == 400 || status == 413, "the setting has no effect: {status} {answer}");
        Ok(())
    });
}

#[test]
fn restarts_scaling_and_evictions_fail_no_call() {
    case("restart", async |world| {
        world.create("cache", &json!({ "replicas": 2, "config": managed() }))?;
        let gateway = world.settled("cache").await;
        let first = revision(world, "cache").await?;
        let traffic = world.traffic("cache").await?;

        world.kubectl(&["rollout", "restart", "deployment/cache"])?;
        rolled(world, "cache", first).await;
        ended(world, &selector(&gateway), 2).await;
        let counts = traffic.none_failed("kubectl rollout restart").await?;
        ensure!(counts.closes > 0, "no kept connection was told to close: {counts:?}");
        // The operator leaves the annotation of `rollout restart` where it is.
        world.patch("cache", json!({ "metadata": { "annotations": { "dbx.dev/reconcile-at": "now" } } })).await?;
        let pods = world.kubectl(&["get", "pods", "--selector", &selector(&gateway), "--output", "name"])?;

        world.kubectl(&["scale", "dbxgateway/cache", "--replicas=3"])?;
        world.settled("cache").await;
        let more = world.kubectl(&["get", "pods", "--selector", &selector(&gateway), "--output", "name"])?;
        ensure!(pods.lines().all(|pod| more.contains(pod)), "scaling replaced pods: {pods} {more}");
        world.kubectl(&["scale", "dbxgateway/cache", "--replicas=1"])?;
        world.settled("cache").await;
        ended(world, &selector(&gateway), 1).await;
        traffic.none_failed("scaling from 2 to 3 to 1").await?;

        world.kubectl(&["scale", "dbxgateway/cache", "--replicas=2"])?;
        world.settled("cache").await;
        let api: Api<Pod> = world.api();
        let listed = api.list(&ListParams::default().labels(&selector(&gateway))).await?;
        if let Some(name) = listed.items.first().and_then(|pod| pod.metadata.name.as_deref()) {
            api.evict(name, &kube::api::EvictParams { delete_options: Some(DeleteParams::default()), ..kube::api::EvictParams::default() })
                .await?;
            world.gone::<Pod>(name, DEADLINE).await;
        }
        world.settled("cache").await;
        traffic.none_failed("an eviction").await?;
        Ok(())
    });
}
