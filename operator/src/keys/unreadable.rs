//! A key that cannot be read, since it was stored past the schema. The others go on, and its gateway takes it no more.

use dbx_crds::{
    api_key::{DbxApiKey, DbxApiKeySpec},
    gateway::Reason,
};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
};
use serde_json::{Value, json};

use super::{accept::Refusal, controller::ApiKey, status};
use crate::{controller::unreadable, names::MANAGER, status::Finding};

/// Says where its mistake is.
pub(super) async fn reject(client: &Client, key: &ApiKey) -> kube::Result<()> {
    let (namespace, name) = (key.namespace().unwrap_or_default(), key.name_any());
    let objects: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &ApiResource::erase::<DbxApiKey>(&()));
    let Some(object) = objects.get_opt(&name).await? else { return Ok(()) };
    let Some(message) = unreadable::<DbxApiKeySpec>(&object.data["spec"]) else { return Ok(()) };
    let before = serde_json::from_value(object.data["status"].clone()).unwrap_or_default();
    let outcome = status::Outcome::Refused(Refusal::Rejected(Finding::new(Reason::InvalidObject, message)));
    let after = status::status(object.metadata.generation, &before, &outcome, &[], &Time(Timestamp::now()));
    if after == before {
        return Ok(());
    }
    // Server-side apply would want the whole object to fit the schema, which this one does not.
    let patch: Value = json!({ "metadata": { "uid": key.meta().uid }, "status": after });
    let params = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
    match objects.patch_status(&name, &params, &Patch::Merge(patch)).await {
        // Past the schema in a way that no rule can be evaluated: its status cannot be written until it is corrected.
        Err(kube::Error::Api(status)) if status.code == 422 => {
            tracing::warn!(namespace, key = name, error = status.message, "the status of a key that cannot be read is not taken");
            Ok(())
        }
        result => result.map(drop),
    }
}
