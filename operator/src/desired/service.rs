//! The Service that clients call. Probes and metrics stay on the pods' own port, which it does not show.

use kube::ResourceExt;
use serde_json::json;

use super::{Input, Kind, Object, object};
use crate::names;

pub(super) fn desired(input: Input<'_>) -> Object {
    let name = input.gateway.name_any();
    let service = input.gateway.spec.service.clone().unwrap_or_default();
    let rest = json!({
        "spec": {
            "type": service.kind.map_or(json!("ClusterIP"), |kind| json!(kind)),
            "selector": names::selector(&name, "gateway"),
            "ports": [{
                "name": "http",
                "port": input.gateway.spec.port(),
                "targetPort": "http",
                "protocol": "TCP",
                "appProtocol": if input.gateway.spec.config.listen.tls.is_some() { "https" } else { "http" },
                "nodePort": service.node_port,
            }],
        },
    });
    let mut object = object(input, Kind::Service, name, "gateway", rest);
    if !service.annotations.is_empty() {
        object.body["metadata"]["annotations"] = json!(service.annotations);
    }
    object
}
