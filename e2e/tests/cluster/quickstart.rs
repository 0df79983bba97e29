//! The first thing anybody tries: the quickstart file, unchanged.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use dbx_crds::gateway::DbxGateway;
use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    core::v1::{Pod, Secret},
};
use kube::{ResourceExt, api::ListParams};
use serde_json::json;

use crate::{
    case::case,
    suite::{say, suite},
    world::{DEADLINE, World},
};

/// How long a gateway may take from `kubectl apply` to Ready.
const READY_WITHIN: Duration = Duration::from_secs(60);

#[test]
fn the_quickstart_is_ready_within_a_minute_and_serves() {
    case("quickstart", async |world| {
        let start = Instant::now();
        world.apply_file("manifests/examples/quickstart.yaml")?;
        for object in ["dbxgateway/quickstart", "dbxapikey/quickstart"] {
            world.kubectl(&["wait", "--for=condition=Ready", object, &format!("--timeout={}s", READY_WITHIN.as_secs())])?;
        }
        let took = start.elapsed();
        say(&format!("quickstart is Ready after {took:.1?}"));
        ensure!(took < READY_WITHIN, "Ready after {took:?}");
        let gateway = world.settled("quickstart").await;
        says_what_it_is(world, &gateway)?;

        let status = gateway.status.context("no status")?;
        let url = format!("{}/api/v1/redis/strings/greeting", status.url.context("no URL")?);
        let key =
            json!({ "name": "token", "secret": { "secretName": "quickstart-key", "items": [{ "key": "DBX_TOKEN", "path": "token" }] } });
        // A node may not know the new Service yet; until it does, its address leads to who had it before.
        world
            .until("a call without a key being refused", DEADLINE, async || {
                let (code, body) = world.call_inside("GET", &url, "").await?;
                ensure!(code == 401, "without a key: {code} {body}");
                Ok(())
            })
            .await;
        let (code, body) = world.call_inside_as("PUT", &url, &json!({ "value": "hello" }).to_string(), &key).await?;
        ensure!((200..300).contains(&code), "{code} {body}");
        let (code, body) = world.call_inside_as("GET", &url, "", &key).await?;
        ensure!(code == 200 && body.contains("\"hello\""), "{code} {body}");
        // By its short name, as applications of the same namespace say it.
        let (code, body) = world.call_inside_as("GET", "http://quickstart:3000/api/v1/redis/strings/greeting", "", &key).await?;
        ensure!(code == 200 && body.contains("\"hello\""), "{code} {body}");

        let secret: Secret = world.get("quickstart-key").await?;
        let token = secret.data.and_then(|mut data| data.remove("DBX_TOKEN")).context("no DBX_TOKEN")?;
        let token = String::from_utf8(token.0)?;
        for pod in world.api::<Pod>().list(&ListParams::default().labels(&status.selector.context("no selector")?)).await? {
            let (code, body) = world.call_forwarded_as("GET", &pod.name_any(), "/api/v1/redis/strings/greeting", "", &token).await?;
            ensure!(code == 200 && body.contains("\"hello\""), "{code} {body}");
        }
        Ok(())
    });
}

fn says_what_it_is(world: &World, gateway: &DbxGateway) -> anyhow::Result<()> {
    let status = gateway.status.clone().unwrap_or_default();
    ensure!(status.url == Some(format!("http://quickstart.{}.svc:3000", world.namespace)), "{:?}", status.url);
    ensure!(status.databases_ready.as_deref() == Some("1/1"), "{:?}", status.databases_ready);
    ensure!(status.databases.iter().all(|database| database.name == "redis" && database.reachable), "{:?}", status.databases);
    ensure!(status.version == Some(suite().tag.clone()), "version {:?}", status.version);
    ensure!((status.replicas, status.ready_replicas) == (Some(2), Some(2)), "{status:?}");
    Ok(())
}

#[test]
fn every_pod_satisfies_the_restricted_standard() {
    case("restricted", async |world| {
        world.apply_file("manifests/examples/quickstart.yaml")?;
        world.settled("quickstart").await;
        // The namespace enforces it for pods; templates get warnings, which nobody but their author would see.
        let deployment: Deployment = world.get("quickstart").await?;
        let server: StatefulSet = world.get("quickstart-redis").await?;
        for mut object in [serde_json::to_value(&deployment)?, serde_json::to_value(&server)?] {
            object["metadata"] = json!({ "name": "copy" });
            let (_, warnings) = world.kubectl_with(&["create", "--dry-run=server", "--filename", "-"], &object.to_string())?;
            ensure!(warnings.is_empty(), "{warnings}");
        }
        for pod in world.api::<Pod>().list(&ListParams::default()).await? {
            let spec = pod.spec.clone().unwrap_or_default();
            ensure!(spec.automount_service_account_token == Some(false), "{} has a token", pod.name_any());
            ensure!(spec.enable_service_links == Some(false), "{} has service links", pod.name_any());
            let restarts: i32 =
                pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten()).map(|status| status.restart_count).sum();
            ensure!(restarts == 0, "{} was restarted {restarts} times", pod.name_any());
        }
        Ok(())
    });
}
