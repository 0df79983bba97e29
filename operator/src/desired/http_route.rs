//! The HTTPRoute of the Gateway API: every path leads to the Service.

use kube::ResourceExt;
use serde_json::json;

use super::{Input, Kind, Object, object};

pub(super) fn desired(input: Input<'_>) -> Option<Object> {
    let route = input.gateway.spec.http_route()?;
    let name = input.gateway.name_any();
    // What the API server would fill in is said, so that nothing differs from it.
    let parents = route.parent_refs.iter().map(|parent| {
        json!({
            "group": "gateway.networking.k8s.io",
            "kind": "Gateway",
            "name": parent.name,
            "namespace": parent.namespace,
            "sectionName": parent.section_name,
            "port": parent.port,
        })
    });
    let backend = json!({ "group": "", "kind": "Service", "name": name, "port": input.gateway.spec.port(), "weight": 1 });
    let rest = json!({
        "spec": {
            "parentRefs": parents.collect::<Vec<_>>(),
            "hostnames": (!route.hostnames.is_empty()).then_some(&route.hostnames),
            "rules": [{ "matches": [{ "path": { "type": "PathPrefix", "value": "/" } }], "backendRefs": [backend] }],
        },
    });
    Some(object(input, Kind::HttpRoute, name, "gateway", rest))
}
