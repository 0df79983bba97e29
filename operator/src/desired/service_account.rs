//! The identity of a gateway's pods, unless they have one that exists. It has no rights, and its token is not mounted.

use kube::ResourceExt;
use serde_json::json;

use super::{Input, Kind, Object, object};

/// The name of the identity.
pub(super) fn name(input: Input<'_>) -> String {
    let named = input.gateway.spec.service_account.as_ref().and_then(|account| account.name.clone());
    named.unwrap_or_else(|| input.gateway.name_any())
}

pub(super) fn desired(input: Input<'_>) -> Option<Object> {
    let account = input.gateway.spec.service_account.clone().unwrap_or_default();
    if account.name.is_some() {
        return None;
    }
    let rest = json!({ "automountServiceAccountToken": false });
    let mut object = object(input, Kind::ServiceAccount, input.gateway.name_any(), "gateway", rest);
    if !account.annotations.is_empty() {
        object.body["metadata"]["annotations"] = json!(account.annotations);
    }
    Some(object)
}
