//! Who may call, on a cluster: keys in a Secret that change while calls are made, and pods that show nothing but the token of
//! their ServiceAccount.

use std::{collections::BTreeSet, time::Instant};

use anyhow::ensure;
use dbx_crds::api_key::token::mint;
use k8s_openapi::api::core::v1::Pod;
use kube::{ResourceExt, api::ListParams};
use serde_json::{Value, json};

use crate::{
    case::case,
    rollout::selector,
    suite::say,
    world::{DEADLINE, World},
};

/// A token, and its entry in a file of keys.
struct Key {
    token: String,
    entry: Value,
}

impl Key {
    fn new(number: u8) -> Self {
        let token = mint([number; 32], [number; 8]);
        let entry = json!({ "id": token.id(), "name": "web", "sha256": token.sha256(), "created": "2026-01-01T00:00:00Z" });
        Self { token: token.text().to_owned(), entry }
    }
}

fn secret(name: &str, field: &str, content: &str) -> String {
    json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "stringData": { field: content } }).to_string()
}

fn keys(keys: &[&Key]) -> String {
    let entries: Vec<&Value> = keys.iter().map(|key| &key.entry).collect();
    secret("gateway-keys", "keys.yaml", &json!({ "keys": entries }).to_string())
}

/// A volume that holds a Secret's token.
fn shows(name: &str) -> Value {
    json!({ "name": "token", "secret": { "secretName": name } })
}

async fn pods(world: &World, selector: &str) -> anyhow::Result<BTreeSet<String>> {
    let pods = world.api::<Pod>().list(&ListParams::default().labels(selector)).await?;
    Ok(pods.iter().map(|pod| format!("{} {:?}", pod.uid().unwrap_or_default(), restarts(pod))).collect())
}

fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    statuses.map_or(0, |statuses| statuses.iter().map(|status| status.restart_count).sum())
}

/// Waits until every pod answers a call with this token with a status.
async fn answered(world: &World, selector: &str, token: &str, status: u16) -> anyhow::Result<()> {
    for pod in world.api::<Pod>().list(&ListParams::default().labels(selector)).await? {
        world
            .until(&format!("{} answers with {status}", pod.name_any()), DEADLINE, async || {
                let (found, body) = world.call_forwarded_as("GET", &pod.name_any(), "/api/v1/redis/strings/none", "", token).await?;
                ensure!(found == status, "{found} {body}");
                Ok(())
            })
            .await;
    }
    Ok(())
}

#[test]
fn keys_are_replaced_without_a_restart_or_a_failed_call() {
    case("key-rotation", async |world| {
        let (old, new) = (Key::new(1), Key::new(2));
        world.apply(&keys(&[&old]))?;
        world.apply(&secret("current", "token", &old.token))?;
        let keys_from = json!([{ "secretKeyRef": { "name": "gateway-keys", "key": "keys.yaml" } }]);
        let grants = json!([{ "to": ["key:web"], "access": ["read", "write"] }]);
        let config = json!({
            "databases": [{ "name": "redis", "redis": { "managed": { "storage": "16Mi" } } }],
            "auth": { "mode": "required", "keysFrom": keys_from, "grants": grants },
        });
        world.create("api", &json!({ "replicas": 2, "config": config }))?;
        let gateway = world.settled("api").await;
        let selector = selector(&gateway);
        let before = pods(world, &selector).await?;
        let (status, body) = world.call_inside("GET", "http://api:3000/api/v1/redis/strings/none", "").await?;
        ensure!(status == 401, "without a token: {status} {body}");
        answered(world, &selector, &old.token, 404).await?;
        answered(world, &selector, &new.token, 401).await?;

        let traffic = world.traffic_as("api", &shows("current")).await?;
        let start = Instant::now();
        world.apply(&keys(&[&old, &new]))?;
        answered(world, &selector, &new.token, 404).await?;
        say(&format!("a new key is known to all pods after {:.1?}", start.elapsed()));
        answered(world, &selector, &old.token, 404).await?;
        world.apply(&secret("current", "token", &new.token))?;
        traffic.shows(&new.token).await;
        traffic.none_failed("a second key, and clients that take to it").await?;
        let start = Instant::now();
        world.apply(&keys(&[&new]))?;
        answered(world, &selector, &old.token, 401).await?;
        say(&format!("a removed key is refused by all pods after {:.1?}", start.elapsed()));
        traffic.none_failed("the first key removed").await?;
        ensure!(pods(world, &selector).await? == before, "pods were restarted");
        Ok(())
    });
}

#[test]
fn a_pod_is_known_by_its_service_account() {
    case("service-account", async |world| {
        for account in ["cart", "stranger"] {
            world.kubectl(&["create", "serviceaccount", account])?;
        }
        let namespace = &world.namespace;
        let grants = json!([{ "to": [format!("serviceaccount:{namespace}/cart")], "access": ["read", "write"], "keys": ["cart:*"] }]);
        let config = json!({
            "databases": [{ "name": "redis", "redis": { "managed": { "storage": "16Mi" } } }],
            "auth": { "mode": "required", "jwt": [{ "kubernetes": {} }], "grants": grants },
        });
        world.create("api", &json!({ "replicas": 1, "config": config }))?;
        world.settled("api").await;
        let url = "http://api:3000/api/v1/redis/strings";
        for (account, audience, key, expected) in [
            ("cart", "dbx", "cart:1", 404),
            ("cart", "dbx", "user:1", 403),
            ("cart", "somebody-else", "cart:1", 401),
            ("stranger", "dbx", "cart:1", 403),
        ] {
            let token = json!({ "path": "token", "audience": audience, "expirationSeconds": 600 });
            let volume = json!({ "name": "token", "projected": { "sources": [{ "serviceAccountToken": token }] }, "account": account });
            let (status, body) = world.call_inside_as("GET", &format!("{url}/{key}"), "", &volume).await?;
            ensure!(status == expected, "{account} for {audience}, {key}: {status} {body}");
        }
        // The gateway itself may read no Secret.
        let account = format!("system:serviceaccount:{namespace}:api");
        let may = world.kubectl(&["auth", "can-i", "get", "secrets", "--as", &account]);
        ensure!(may.is_err_and(|error| error.to_string().contains("no")), "the gateway's ServiceAccount may read Secrets");
        Ok(())
    });
}
