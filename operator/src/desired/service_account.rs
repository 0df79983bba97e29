//! The identity of a gateway's pods. It has no rights, and its token is not mounted.

use kube::ResourceExt;
use serde_json::json;

use super::{Input, Kind, Object, object};

pub(super) fn desired(input: Input<'_>) -> Object {
    let rest = json!({ "automountServiceAccountToken": false });
    object(input, Kind::ServiceAccount, input.gateway.name_any(), "gateway", rest)
}
