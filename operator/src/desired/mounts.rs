//! The Secrets and ConfigMaps that a configuration names, as directories of the pod: `/etc/dbx/secrets/<name>/<key>`.
//! Whole directories, never `subPath`, so that a change reaches the pod; of each object only the keys that are named.

use std::collections::{BTreeMap, BTreeSet};

use dbx_crds::config::SecretSource;
use serde_json::{Value, json};

use crate::{names, render::DIRECTORY};

/// Where programs in a pod look for what reaches the API server.
const API_ACCESS: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The keys that are named of one object.
#[derive(Default)]
struct Named<'a> {
    secret: BTreeSet<&'a str>,
    config_map: BTreeSet<&'a str>,
}

/// Volumes and mounts, in the order of the names.
pub(super) fn mounts<'a>(sources: impl IntoIterator<Item = &'a SecretSource>) -> (Vec<Value>, Vec<Value>) {
    let mut named: BTreeMap<&str, Named<'_>> = BTreeMap::new();
    for source in sources {
        if let Some(reference) = &source.secret_key_ref {
            named.entry(&reference.name).or_default().secret.insert(&reference.key);
        }
        if let Some(reference) = &source.config_map_key_ref {
            named.entry(&reference.name).or_default().config_map.insert(&reference.key);
        }
    }
    named.iter().map(|(name, keys)| (volume(name, keys), mount(name))).unzip()
}

/// What a pod needs to ask the API server for the keys that ServiceAccounts' tokens are signed by: a token of its own, which may do
/// nothing else, and the server's CA.
pub(super) fn api_access() -> (Value, Value) {
    let token = json!({ "serviceAccountToken": { "path": "token", "expirationSeconds": 3600 } });
    let ca = json!({ "configMap": { "name": "kube-root-ca.crt", "items": [{ "key": "ca.crt", "path": "ca.crt" }] } });
    let volume = json!({ "name": "secret-api", "projected": { "sources": [token, ca] } });
    (volume, json!({ "name": "secret-api", "mountPath": API_ACCESS, "readOnly": true }))
}

fn volume(name: &str, keys: &Named<'_>) -> Value {
    let items = |keys: &BTreeSet<&str>| keys.iter().map(|key| json!({ "key": key, "path": key })).collect::<Vec<_>>();
    let sources: Vec<Value> = [("secret", &keys.secret), ("configMap", &keys.config_map)]
        .into_iter()
        .filter(|(_, keys)| !keys.is_empty())
        .map(|(kind, keys)| json!({ kind: { "name": name, "items": items(keys) } }))
        .collect();
    json!({ "name": volume_name(name), "projected": { "sources": sources } })
}

fn mount(name: &str) -> Value {
    json!({ "name": volume_name(name), "mountPath": format!("{DIRECTORY}/{name}"), "readOnly": true })
}

/// A volume's name is shorter than a Secret's may be.
fn volume_name(name: &str) -> String {
    format!("secret-{}", names::hash8(name.as_bytes()))
}
