//! The Ingress: every path of its hosts leads to the Service.

use kube::ResourceExt;
use serde_json::json;

use super::{Input, Kind, Object, object};

pub(super) fn desired(input: Input<'_>) -> Option<Object> {
    let ingress = input.gateway.spec.ingress()?;
    let name = input.gateway.name_any();
    let backend = json!({ "service": { "name": name, "port": { "name": "http" } } });
    let rule = |host| json!({ "host": host, "http": { "paths": [{ "path": "/", "pathType": "Prefix", "backend": backend }] } });
    let rest = json!({
        "spec": {
            "ingressClassName": ingress.class_name,
            "rules": ingress.hosts.iter().map(rule).collect::<Vec<_>>(),
            "tls": ingress.tls_secret_name.as_ref().map(|secret| json!([{ "hosts": ingress.hosts, "secretName": secret }])),
        },
    });
    let mut object = object(input, Kind::Ingress, name, "gateway", rest);
    if !ingress.annotations.is_empty() {
        object.body["metadata"]["annotations"] = json!(ingress.annotations);
    }
    Some(object)
}
