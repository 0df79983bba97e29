//! A key from the object to the call: every pod takes it before the application has it, and none once it is deleted.

use std::time::Instant;

use anyhow::{Context, ensure};
use dbx_crds::api_key::DbxApiKey;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Pod, Secret},
};
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::json;

use crate::{
    case::case,
    suite::say,
    world::{DEADLINE, World},
};

const PATH: &str = "/api/v1/redis/strings/a";

async fn pods(world: &World) -> anyhow::Result<Vec<String>> {
    let pods = world.api::<Pod>().list(&ListParams::default().labels("app.kubernetes.io/component=gateway")).await?;
    Ok(pods.iter().map(ResourceExt::name_any).collect())
}

/// Calls every pod and holds each to a status.
async fn all_answer(world: &World, token: &str, wanted: u16) -> anyhow::Result<()> {
    for pod in pods(world).await? {
        let (status, body) = world.call_forwarded_as("GET", &pod, PATH, "", token).await?;
        ensure!(status == wanted, "{pod} answers {status}: {body}");
    }
    Ok(())
}

async fn token(world: &World) -> anyhow::Result<String> {
    let data = world.get::<Secret>("web-dbx").await?.data.context("nothing in it")?;
    Ok(String::from_utf8(data.get("DBX_TOKEN").context("no DBX_TOKEN")?.0.clone())?)
}

async fn is_ready(world: &World) -> anyhow::Result<()> {
    let key: DbxApiKey = world.get("web").await?;
    let conditions = key.status.map(|status| status.conditions).unwrap_or_default();
    let ready = conditions.iter().find(|found| found.type_ == "Ready").context("no condition yet")?;
    ensure!(ready.status == "True", "{}: {}", ready.reason, ready.message);
    Ok(())
}

#[test]
fn a_key_is_taken_before_it_is_handed_over_and_no_more_once_deleted() {
    case("api-keys", async |world| {
        let database = json!({ "name": "redis", "redis": { "managed": { "storage": "16Mi" } } });
        let config = json!({ "databases": [database], "auth": { "mode": "required" } });
        world.create("cache", &json!({ "replicas": 2, "config": config }))?;
        world.settled("cache").await;
        all_answer(world, "", 401).await.context("without a key")?;
        let generation = world.get::<Deployment>("cache").await?.metadata.generation;

        let spec = json!({ "gatewayRef": { "name": "cache" }, "access": ["read", "write"], "secretName": "web-dbx" });
        let key = json!({ "apiVersion": "dbx.dev/v1alpha1", "kind": "DbxApiKey", "metadata": { "name": "web" }, "spec": spec });
        let start = Instant::now();
        world.apply(&key.to_string())?;
        let first = world.until("the key is handed over", DEADLINE, async || token(world).await).await;
        say(&format!("a key is taken by every pod and handed over after {:.1?}", start.elapsed()));
        let pod = pods(world).await?.remove(0);
        let (status, body) = world.call_forwarded_as("PUT", &pod, PATH, r#"{"value":"1"}"#, &first).await?;
        ensure!((200..300).contains(&status), "{status}: {body}");
        all_answer(world, &first, 200).await.context("with the first key")?;
        world.until("it is ready", DEADLINE, async || is_ready(world).await).await;

        let again = Patch::Merge(json!({ "metadata": { "annotations": { "dbx.dev/rotate-at": "now" } } }));
        let start = Instant::now();
        world.api::<DbxApiKey>().patch("web", &PatchParams::default(), &again).await?;
        let second = world
            .until("another key is handed over", DEADLINE, async || {
                let now = token(world).await?;
                ensure!(now != first, "it is the first one");
                Ok(now)
            })
            .await;
        say(&format!("a key is replaced after {:.1?}", start.elapsed()));
        all_answer(world, &second, 200).await.context("with the second key")?;
        all_answer(world, &first, 200).await.context("with the first key, within the overlap")?;

        world.api::<DbxApiKey>().delete("web", &DeleteParams::default()).await?;
        let start = Instant::now();
        for old in [&first, &second] {
            world.until("a deleted key is refused", DEADLINE, async || all_answer(world, old, 401).await).await;
        }
        say(&format!("a deleted key is refused by every pod after {:.1?}", start.elapsed()));
        world.gone::<Secret>("web-dbx", DEADLINE).await;
        let after = world.get::<Deployment>("cache").await?.metadata.generation;
        ensure!(after == generation, "a key rolled the gateway");
        Ok(())
    });
}
