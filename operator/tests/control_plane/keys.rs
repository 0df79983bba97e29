//! API keys: made in steps, handed to the application, replaced, revoked, and never lost to a crash.

use std::{
    io::{Read, Write},
    sync::{Arc, Mutex},
};

use dbx_crds::api_key::{DbxApiKey, token};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Pod, Secret},
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{cluster::quiet, gateway::World, handover::Operator};

fn guarded() -> Value {
    json!({ "databases": [{ "name": "redis", "redis": { "url": "redis://elsewhere" } }], "auth": { "mode": "required" } })
}

impl World {
    async fn key(&self, name: &str, change: Value) -> DbxApiKey {
        let mut spec = json!({ "gatewayRef": { "name": "cache" }, "access": ["read"], "secretName": format!("{name}-secret") });
        spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let key = serde_json::from_value(json!({ "metadata": { "name": name }, "spec": spec })).unwrap();
        self.api::<DbxApiKey>().create(&PostParams::default(), &key).await.unwrap()
    }

    /// Waits until a key has a condition with this status and reason; its message.
    pub(crate) async fn key_is(&self, name: &str, condition: &str, status: &str, reason: &str) -> String {
        let message = Mutex::new(String::new());
        self.until(&format!("{name} having {condition}={status}/{reason}"), async || {
            let key = self.api::<DbxApiKey>().get(name).await.unwrap();
            let generation = key.metadata.generation;
            let known = key.status.filter(|status| status.observed_generation == generation).unwrap_or_default();
            let found = known.conditions.into_iter().find(|found| found.type_ == condition);
            let found = found.filter(|found| found.status == status && found.reason == reason);
            found.map(|found| *message.lock().unwrap() = found.message).is_some()
        })
        .await;
        message.into_inner().unwrap()
    }

    /// The file of keys, as text.
    async fn file(&self) -> String {
        self.api::<ConfigMap>().get("cache-keys").await.unwrap().data.unwrap().remove("keys.yaml").unwrap()
    }

    /// Waits until the kubelet of the pod was told of the newest file; its revision.
    async fn hurried(&self) -> String {
        let now = revision(&self.file().await);
        self.until("the kubelet being hurried", async || {
            self.api::<Pod>().get("cache-1").await.unwrap().annotations().get("dbx.dev/keys-revision") == Some(&now)
        })
        .await;
        now
    }

    pub(crate) async fn entries(&self) -> Vec<Value> {
        let file: Value = serde_yaml::from_str(&self.file().await).unwrap();
        file["keys"].as_array().unwrap().clone()
    }

    pub(crate) async fn token(&self, secret: &str) -> String {
        let data = self.api::<Secret>().get(secret).await.unwrap().data.unwrap();
        String::from_utf8(data["DBX_TOKEN"].0.clone()).unwrap()
    }

    async fn annotate(&self, name: &str, annotation: &str, value: &str) {
        let patch = Patch::Merge(json!({ "metadata": { "annotations": { annotation: value } } }));
        self.api::<DbxApiKey>().patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// A ready pod of the gateway, that says of its file of keys what it is told to.
    pub(crate) async fn pod(&self, address: &str) -> Arc<Mutex<String>> {
        let revision = Arc::new(Mutex::new("0000000000000000".to_owned()));
        let listener = std::net::TcpListener::bind((address, 9090)).unwrap();
        let said = revision.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 1024]);
                let file = json!({ "path": "/etc/dbx/secrets/cache-keys/keys.yaml", "revision": *said.lock().unwrap() });
                let body = json!({ "ready": true, "databases": [], "keyFiles": [file] }).to_string();
                let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            }
        });
        let status = json!({ "phase": "Running", "podIP": address, "podIPs": [{ "ip": address }], "conditions": [{ "type": "Ready", "status": "True" }] });
        self.pod_that_is("cache-1", status).await;
        revision
    }

    /// A pod of the gateway with a status, which no kubelet says here.
    pub(crate) async fn pod_that_is(&self, name: &str, status: Value) {
        let labels = self.api::<Deployment>().get("cache").await.unwrap().spec.unwrap().template.metadata.unwrap().labels;
        let pod =
            json!({ "metadata": { "name": name, "labels": labels }, "spec": { "containers": [{ "name": "gateway", "image": "x" }] } });
        self.api::<Pod>().create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
        self.api::<Pod>().patch_status(name, &PatchParams::default(), &Patch::Merge(json!({ "status": status }))).await.unwrap();
    }
}

fn revision(file: &str) -> String {
    Sha256::digest(file.as_bytes())[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn sha256(token: &str) -> String {
    token::hash(token).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_key_is_handed_over_once_every_pod_takes_it() {
    let world = World::new("keys").await;
    world.create("cache", json!({ "config": guarded(), "replicas": 1 })).await.unwrap();
    world.programmed("cache").await;
    assert_eq!(world.file().await, "keys: []\n");
    let generation = world.api::<Deployment>().get("cache").await.unwrap().metadata.generation;
    let said = world.pod("127.91.0.8").await;

    world
        .key("web", json!({ "keys": ["cart:*"], "channels": [], "prefix": "x:", "databases": ["redis"], "access": ["read", "write"] }))
        .await;
    let message = world.key_is("web", "Programmed", "False", "Loading").await;
    world.until("the hash being in the file", async || world.entries().await.len() == 1).await;
    assert!(message.contains("not in the file") || message == "not yet read by cache-1", "{message}");
    let entry = world.entries().await.remove(0);
    assert_eq!(entry["name"], "keys/web");
    assert_eq!(
        entry["grants"],
        json!([{ "access": ["read", "write"], "databases": ["redis"], "keys": ["cart:*"], "channels": [], "prefix": "x:" }])
    );
    assert!(world.exists::<Secret>("web-pending").await && !world.exists::<Secret>("web-secret").await);
    let now = world.hurried().await;
    *said.lock().unwrap() = now;
    world.key_is("web", "Ready", "True", "Ready").await;
    let first = world.token("web-secret").await;
    assert_eq!(token::parse(&first), entry["id"].as_str());
    assert_eq!(entry["sha256"], sha256(&first));
    let secret = world.api::<Secret>().get("web-secret").await.unwrap();
    assert_eq!(secret.owner_references()[0].kind, "DbxApiKey");
    assert_eq!(String::from_utf8(secret.data.unwrap()["DBX_URL"].0.clone()).unwrap(), "http://cache.keys.svc:3000");
    assert!(!world.exists::<Secret>("web-pending").await);
    assert_eq!(world.api::<Deployment>().get("cache").await.unwrap().metadata.generation, generation, "a new key rolls nothing");

    // Replaced when asked for; the one before is taken for a while.
    world.annotate("web", "dbx.dev/rotate-at", "now").await;
    world.until("another key", async || world.entries().await.len() == 2).await;
    assert_eq!(world.token("web-secret").await, first, "it is handed over only once it is taken");
    *said.lock().unwrap() = revision(&world.file().await);
    world.until("the other key being handed over", async || world.token("web-secret").await != first).await;
    world
        .until("the first one ending", async || {
            let keys = world.api::<DbxApiKey>().get("web").await.unwrap().status.unwrap().keys;
            keys.len() == 2 && keys[0].expires.is_none() && keys[1].expires.is_some() && Some(keys[1].id.as_str()) == token::parse(&first)
        })
        .await;
    world.until("its end being in the file", async || world.entries().await.iter().any(|entry| !entry["expires"].is_null())).await;
    assert!(!world.exists::<Secret>("web-pending").await);

    // Nothing is written without news.
    world.hurried().await;
    let writes = crate::cluster::cluster().writes("keys").len();
    world.annotate("web", "dbx.dev/reconcile-at", "now").await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let after = crate::cluster::cluster().writes("keys");
    assert_eq!(after.len(), writes, "{:#?}", &after[writes..]);

    // A Secret that somebody deletes takes its keys with it.
    let second = world.token("web-secret").await;
    world.api::<Secret>().delete("web-secret", &DeleteParams::default()).await.unwrap();
    world.annotate("web", "dbx.dev/reconcile-at", "again").await;
    world.until("a third key alone", async || world.entries().await.len() == 1).await;
    *said.lock().unwrap() = revision(&world.file().await);
    world.until("the third key being handed over", async || world.exists::<Secret>("web-secret").await).await;
    assert_ne!(world.token("web-secret").await, second);

    // Deleted, it is taken no more; even by a gateway whose configuration is not accepted.
    world.patch("cache", json!({ "spec": { "config": { "cors": { "origins": ["x"] } } } })).await.unwrap();
    world.condition("cache", "Accepted", "False", "InvalidConfig").await;
    world.api::<DbxApiKey>().delete("web", &DeleteParams::default()).await.unwrap();
    world.until("the file being empty", async || world.entries().await.is_empty()).await;
}

#[tokio::test]
async fn what_cannot_be_is_told() {
    let (world, other) = (World::new("keys-gateway").await, World::new("keys-other").await);
    let elsewhere = json!({ "gatewayRef": { "name": "cache", "namespace": "keys-gateway" } });
    other.key("far", elsewhere).await;
    let message = other.key_is("far", "ResolvedRefs", "False", "GatewayNotFound").await;
    assert_eq!(message, "spec.gatewayRef: DbxGateway keys-gateway/cache does not exist");
    world.create("cache", json!({ "config": guarded() })).await.unwrap();
    world.programmed("cache").await;
    other.key_is("far", "Accepted", "False", "NamespaceNotAllowed").await;
    assert!(!other.exists::<Secret>("far-pending").await);
    world.patch("cache", json!({ "spec": { "apiKeys": { "allowedNamespaces": ["keys-other"] } } })).await.unwrap();
    other.key_is("far", "Ready", "True", "Ready").await;
    assert_eq!(world.entries().await[0]["name"], "keys-other/far");
    world.patch("cache", json!({ "spec": { "apiKeys": null } })).await.unwrap();
    other.key_is("far", "Accepted", "False", "NamespaceNotAllowed").await;
    world.until("it being taken no more", async || world.entries().await.is_empty()).await;

    let foreign: Secret = serde_json::from_value(json!({ "metadata": { "name": "taken-secret" }, "stringData": { "a": "b" } })).unwrap();
    world.api::<Secret>().create(&PostParams::default(), &foreign).await.unwrap();
    world.key("taken", json!({})).await;
    world.key_is("taken", "Accepted", "False", "SecretConflict").await;
    assert_eq!(world.api::<Secret>().get("taken-secret").await.unwrap().data.unwrap().len(), 1);
    world.key("lost", json!({ "databases": ["redis", "none"] })).await;
    let message = world.key_is("lost", "ResolvedRefs", "False", "DatabaseNotFound").await;
    assert!(message.starts_with("spec.databases[1]: "), "{message}");
    assert!(world.entries().await.is_empty());

    world.patch("cache", json!({ "spec": { "config": { "auth": { "mode": "none" } } } })).await.unwrap();
    world.key_is("lost", "Accepted", "False", "AuthNotRequired").await;
    world.until("the file being gone", async || !world.exists::<ConfigMap>("cache-keys").await).await;
}

/// A Secret as the operator leaves it behind when it crashes.
fn secret(key: &DbxApiKey, name: &str, token: &token::Token, data: &Value) -> Secret {
    let record = json!([{ "id": token.id(), "sha256": token.sha256(), "created": "2026-01-01T00:00:00Z" }]);
    let owner =
        json!({ "apiVersion": "dbx.dev/v1alpha1", "kind": "DbxApiKey", "name": key.name_any(), "uid": key.uid(), "controller": true });
    serde_json::from_value(json!({
        "metadata": { "name": name, "annotations": { "dbx.dev/keys": record.to_string() }, "ownerReferences": [owner] },
        "stringData": data,
    }))
    .unwrap()
}

#[tokio::test]
async fn what_a_crash_leaves_behind_is_gone_on_with() {
    let world = World::on(quiet(), "keys-crash").await;
    world.create("cache", json!({ "config": guarded() })).await.unwrap();
    let secrets: Api<Secret> = world.api();
    let (minted, handed) = (token::mint([1; 32], [1; 8]), token::mint([2; 32], [2; 8]));
    // One crashed once the pending Secret was made, one once the application's was, and one was spoilt.
    let key = world.key("minted", json!({})).await;
    secrets.create(&PostParams::default(), &secret(&key, "minted-pending", &minted, &json!({ "token": minted.text() }))).await.unwrap();
    let key = world.key("handed", json!({})).await;
    secrets.create(&PostParams::default(), &secret(&key, "handed-pending", &handed, &json!({ "token": handed.text() }))).await.unwrap();
    let data = json!({ "DBX_TOKEN": handed.text(), "DBX_URL": "old" });
    secrets.create(&PostParams::default(), &secret(&key, "handed-secret", &handed, &data)).await.unwrap();
    let key = world.key("spoilt", json!({})).await;
    secrets.create(&PostParams::default(), &secret(&key, "spoilt-pending", &minted, &json!({ "token": "another" }))).await.unwrap();

    let _operator = Operator::start("admin", &["--watch-namespace", "keys-crash", "--lease", "keys-crash"]);
    for name in ["minted", "handed", "spoilt"] {
        world.key_is(name, "Ready", "True", "Ready").await;
        assert!(!world.exists::<Secret>(&format!("{name}-pending")).await);
    }
    assert_eq!(world.token("minted-secret").await, minted.text());
    assert_eq!(world.token("handed-secret").await, handed.text());
    let spoilt = world.token("spoilt-secret").await;
    let mut hashes: Vec<String> = world.entries().await.iter().map(|entry| entry["sha256"].as_str().unwrap().to_owned()).collect();
    let mut wanted = vec![minted.sha256(), handed.sha256(), sha256(&spoilt)];
    hashes.sort();
    wanted.sort();
    assert_eq!(hashes, wanted);
    let url = secrets.get("handed-secret").await.unwrap().data.unwrap()["DBX_URL"].0.clone();
    assert_eq!(String::from_utf8(url).unwrap(), "http://cache.keys-crash.svc:3000");
}
