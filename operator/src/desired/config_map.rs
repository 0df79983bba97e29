//! The configuration file. Its name holds its hash and it never changes, so old pods keep their old configuration and a
//! rollback finds it.

use kube::ResourceExt;
use serde_json::json;

use super::{Input, Kind, Object, object};
use crate::{names, render::KEYS_FILE};

/// The file's name inside the map.
pub(super) const FILE: &str = "config.yaml";

pub(super) fn name(input: Input<'_>) -> String {
    names::child(&input.gateway.name_any(), &format!("config-{}", input.rendered.hash))
}

pub(super) fn desired(input: Input<'_>) -> Object {
    let rest = json!({ "immutable": true, "data": { FILE: input.rendered.yaml } });
    let mut object = object(input, Kind::ConfigMap, name(input), "gateway", rest);
    object.body["metadata"]["labels"][names::CONFIG_HASH] = input.rendered.hash.as_str().into();
    object
}

/// The file of the keys that the gateway takes. It changes in place, and no pod is replaced.
pub(super) fn keys(input: Input<'_>) -> Option<Object> {
    let rest = json!({ "data": { KEYS_FILE: input.keys? } });
    Some(object(input, Kind::ConfigMap, names::keys(&input.gateway.name_any()), "gateway", rest))
}
