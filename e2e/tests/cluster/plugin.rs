//! `kubectl dbx`, found by kubectl as its plugin, on gateways that run.

use std::process::Command;

use anyhow::{Context, ensure};
use dbx_crds::api_key::DbxApiKey;
use k8s_openapi::api::core::v1::Pod;
use kube::{ResourceExt, api::ListParams};
use serde_json::json;

use crate::{
    case::case,
    world::{DEADLINE, World},
};

/// Whether it ended well, and what it printed: output, then errors.
fn dbx(world: &World, arguments: &[&str]) -> anyhow::Result<(bool, String)> {
    let mut command = Command::new("kubectl");
    command.arg("dbx").args(arguments).args(["--namespace", &world.namespace]).env_remove("DBX_TOKEN");
    let output = command.output().context("kubectl")?;
    let [out, errors] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ok((output.status.success(), out + &errors))
}

fn succeeds(world: &World, arguments: &[&str]) -> anyhow::Result<String> {
    let (well, text) = dbx(world, arguments)?;
    ensure!(well, "kubectl dbx {}: {text}", arguments.join(" "));
    Ok(text)
}

fn fails(world: &World, arguments: &[&str], words: &str) -> anyhow::Result<()> {
    let (well, text) = dbx(world, arguments)?;
    ensure!(!well && text.contains(words), "kubectl dbx {} does not fail with {words:?}: {text}", arguments.join(" "));
    Ok(())
}

#[test]
fn the_plugin_tells_and_calls() {
    case("plugin", async |world| {
        let database = json!({ "name": "redis", "redis": { "managed": { "storage": "16Mi" } } });
        world.create("cache", &json!({ "replicas": 2, "config": { "databases": [database], "auth": { "mode": "required" } } }))?;
        let spec = json!({ "gatewayRef": { "name": "cache" }, "access": ["read", "write"], "secretName": "web-dbx" });
        let key = json!({ "apiVersion": "dbx.dev/v1alpha1", "kind": "DbxApiKey", "metadata": { "name": "web" }, "spec": spec });
        world.apply(&key.to_string())?;
        world.settled("cache").await;
        let status = world.until("the plugin finds all well", DEADLINE, async || succeeds(world, &["status", "cache"])).await;
        for words in ["cache: well", "2/2 pods ready", "1/1 databases reachable", "1/1 keys ready"] {
            ensure!(status.contains(words), "no {words:?}: {status}");
        }
        fails(world, &["status", "nothing"], "no dbxgateways.dbx.dev nothing")?;

        let key: DbxApiKey = world.get("web").await?;
        let id = key.status.and_then(|status| Some(status.keys.first()?.id.clone())).context("no key")?;
        let keys = succeeds(world, &["keys", "cache"])?;
        ensure!(keys.contains(&id) && keys.contains("Ready: "), "no {id}: {keys}");

        fails(world, &["call", "cache", "get", r#"{"key":"a"}"#], "401")?;
        succeeds(world, &["call", "cache", "set", r#"{"key":"a","value":"1"}"#, "--key", "web"])?;
        let value = succeeds(world, &["call", "cache", "/api/v1/redis/strings/a", "--key", "web"])?;
        ensure!(value.trim() == r#"{"result":"1"}"#, "{value}");
        fails(world, &["call", "cache", "/api/v1/redis/strings/none", "--key", "web"], "key_not_found")?;

        let pods = world.api::<Pod>().list(&ListParams::default().labels("app.kubernetes.io/component=gateway")).await?;
        let [logs, top] = [succeeds(world, &["logs", "cache"])?, succeeds(world, &["top", "cache"])?];
        for pod in pods.iter().map(ResourceExt::name_any) {
            let short = pod.rsplit('-').next().unwrap_or_default();
            for (what, text) in [("logs", &logs), ("top", &top)] {
                ensure!(text.lines().any(|line| line.starts_with(short)), "{what}: nothing of {pod}: {text}");
            }
        }
        let all = top.lines().last().unwrap_or_default();
        ensure!(all.starts_with("all") && all.ends_with("Mi"), "{top}");
        Ok(())
    });
}
