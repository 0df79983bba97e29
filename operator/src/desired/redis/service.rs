//! The Service by which gateways reach the server.

use kube::ResourceExt;
use serde_json::json;

use super::{super::object, COMPONENT, Input, Object, name};
use crate::{desired::Kind, names};

/// What tells the pods of one database from those of another.
pub(super) fn selector(input: Input<'_>, database: &str) -> serde_json::Value {
    let mut selector = json!(names::selector(&input.gateway.name_any(), COMPONENT));
    selector[names::DATABASE] = database.into();
    selector
}

pub(super) fn desired(input: Input<'_>, database: &str) -> Object {
    let rest = json!({
        "spec": {
            "type": "ClusterIP",
            "selector": selector(input, database),
            "ports": [{ "name": "redis", "port": 6379, "targetPort": "redis", "protocol": "TCP", "appProtocol": "redis" }],
        },
    });
    object(input, Kind::Service, name(input, database), COMPONENT, rest)
}
