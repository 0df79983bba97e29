//! The Secrets of a key: the pending one, with its text, and the application's. What a Secret holds is read once, when it is
//! handed on; all else is read from metadata.

use std::collections::BTreeMap;

use dbx_crds::{
    api_key::{
        self, DbxApiKey, ROTATE_AT,
        token::{self, ID_LENGTH},
    },
    gateway::RECONCILE_AT,
};
use k8s_openapi::{ByteString, api::core::v1::Secret, jiff::Timestamp};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, PartialObjectMeta, Patch, PatchParams, PostParams, Preconditions},
};
use serde_json::{Value, json};

use super::{
    file::Record,
    plan::{Found, Ours, RECORDS, URL},
};
use crate::names::{self, MANAGER};

/// The key of the pending Secret that holds the text.
const TOKEN: &str = "token";

/// What the Secrets of a key say of themselves.
pub(super) struct Look {
    pub(super) secret: Found,
    pub(super) pending: Found,
}

impl Look {
    /// All keys that have to be taken.
    pub(super) fn records(&self) -> Vec<Record> {
        let mut records = self.secret.records().to_vec();
        if let Some(new) = self.pending.records().first()
            && !records.iter().any(|record| record.id == new.id)
        {
            records.insert(0, new.clone());
        }
        records
    }
}

fn secrets(client: &Client, key: &DbxApiKey) -> Api<Secret> {
    Api::namespaced(client.clone(), &key.namespace().unwrap_or_default())
}

/// The name of the Secret that holds a key until every pod takes it.
pub(super) fn pending_name(key: &DbxApiKey) -> String {
    names::child(&key.name_any(), "pending")
}

/// Reads the metadata of the Secrets.
pub(super) async fn look(client: &Client, key: &DbxApiKey) -> kube::Result<Look> {
    let api = secrets(client, key);
    // The pending one first: when it is taken away between the two, the other one has its key.
    let pending = api.get_metadata_opt(&pending_name(key)).await?;
    let secret = api.get_metadata_opt(&key.spec.secret_name).await?;
    let read = |secret: Option<PartialObjectMeta<Secret>>| Found::read(secret.map(|secret| secret.metadata), key);
    Ok(Look { secret: read(secret), pending: read(pending) })
}

fn body(key: &DbxApiKey, name: &str, annotations: &BTreeMap<&str, String>, data: &BTreeMap<&str, ByteString>) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "namespace": key.namespace(),
            "labels": { names::MANAGED_BY: MANAGER, "app.kubernetes.io/part-of": "dbx" },
            "annotations": annotations,
            "ownerReferences": [{
                "apiVersion": "dbx.dev/v1alpha1",
                "kind": "DbxApiKey",
                "name": key.name_any(),
                "uid": key.uid(),
                "controller": true,
                "blockOwnerDeletion": true,
            }],
        },
        "type": "Opaque",
        "data": data,
    })
}

fn text(records: &[Record]) -> String {
    serde_json::to_string(records).expect("records are JSON")
}

async fn create(api: &Api<Secret>, body: Value) -> kube::Result<()> {
    let secret = serde_json::from_value(body).map_err(kube::Error::SerdeError)?;
    let params = PostParams { field_manager: Some(MANAGER.into()), ..PostParams::default() };
    api.create(&params, &secret).await.map(drop)
}

/// Makes a new key and its pending Secret.
pub(super) async fn mint(client: &Client, key: &DbxApiKey, now: Timestamp) -> kube::Result<()> {
    let (mut random, mut id) = ([0; 32], [0; ID_LENGTH / 2]);
    for bytes in [&mut random[..], &mut id[..]] {
        getrandom::fill(bytes).map_err(|error| kube::Error::Service(error.to_string().into()))?;
    }
    let token = token::mint(random, id);
    let created = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let record = Record { id: token.id().into(), sha256: token.sha256(), created, expires: None };
    let mut annotations = BTreeMap::from([(RECORDS, text(&[record]))]);
    annotations.extend(key.annotations().get(ROTATE_AT).map(|wish| (ROTATE_AT, wish.clone())));
    let data = BTreeMap::from([(TOKEN, ByteString(token.text().as_bytes().to_vec()))]);
    create(&secrets(client, key), body(key, &pending_name(key), &annotations, &data)).await?;
    tracing::info!(namespace = key.namespace(), key = key.name_any(), id = token.id(), "made a key");
    Ok(())
}

/// Hands the pending key to the application. `false` when the pending Secret does not hold it.
pub(super) async fn deliver(client: &Client, key: &DbxApiKey, url: &str, records: &[Record], found: &Look) -> kube::Result<bool> {
    let api = secrets(client, key);
    let Some(pending) = api.get_opt(&pending_name(key)).await? else { return Ok(false) };
    let rotated = pending.annotations().get(ROTATE_AT).cloned();
    let token = pending.data.and_then(|mut data| data.remove(TOKEN)).and_then(|bytes| String::from_utf8(bytes.0).ok()).unwrap_or_default();
    if records.first().is_none_or(|record| names::hex(&token::hash(&token)) != record.sha256) {
        return Ok(false);
    }
    let mut annotations = BTreeMap::from([(RECORDS, text(records)), (URL, url.to_owned())]);
    annotations.extend(rotated.map(|wish| (ROTATE_AT, wish)));
    let data = BTreeMap::from([(api_key::URL, ByteString(url.into())), (api_key::TOKEN, ByteString(token.into_bytes()))]);
    let mut body = body(key, &key.spec.secret_name, &annotations, &data);
    match &found.secret {
        // Created, not applied: what somebody else makes meanwhile is not taken over.
        Found::Absent | Found::Foreign => create(&api, body).await?,
        Found::Ours(Ours { uid, .. }) => {
            body["metadata"]["uid"] = uid.as_str().into();
            let params = PatchParams::apply(MANAGER).force();
            api.patch_metadata(&key.spec.secret_name, &params, &Patch::Apply(&body)).await?;
        }
    }
    Ok(true)
}

/// Changes what the application's Secret says of its keys and of where they are taken.
pub(super) async fn amend(client: &Client, key: &DbxApiKey, secret: &Ours, records: &[Record], url: &str) -> kube::Result<()> {
    let mut patch = json!({ "metadata": { "uid": secret.uid, "annotations": { RECORDS: text(records), URL: url } } });
    if secret.url.as_deref() != Some(url) {
        patch["stringData"] = json!({ api_key::URL: url });
    }
    let params = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
    secrets(client, key).patch_metadata(&key.spec.secret_name, &params, &Patch::Merge(&patch)).await.map(drop)
}

/// Takes the pending Secret away.
pub(super) async fn discard(client: &Client, key: &DbxApiKey, pending: &Found) -> kube::Result<()> {
    let Found::Ours(Ours { uid, .. }) = pending else { return Ok(()) };
    let params = DeleteParams::background().preconditions(Preconditions { uid: Some(uid.clone()), resource_version: None });
    match secrets(client, key).delete(&pending_name(key), &params).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        result => result.map(drop),
    }
}

/// What makes a change of a key's annotations worth a look.
pub(super) const ASKED_BY: [&str; 2] = [ROTATE_AT, RECONCILE_AT];
