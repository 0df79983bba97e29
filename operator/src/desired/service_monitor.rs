//! The ServiceMonitor of the Prometheus operator. It finds the pods by the Service, and reads the port that the Service does
//! not show.

use kube::ResourceExt;
use serde_json::json;

use super::{Input, Kind, Object, object};
use crate::names;

pub(super) fn desired(input: Input<'_>) -> Option<Object> {
    let monitor = input.gateway.spec.service_monitor()?;
    let name = input.gateway.name_any();
    let rest = json!({
        "spec": {
            "selector": { "matchLabels": names::selector(&name, "gateway") },
            "endpoints": [{ "targetPort": "operations", "path": "/metrics", "interval": monitor.interval }],
        },
    });
    let mut object = object(input, Kind::ServiceMonitor, name, "gateway", rest);
    let labels = object.body["metadata"]["labels"].as_object_mut().expect("every object has labels");
    for (key, value) in &monitor.labels {
        labels.entry(key.as_str()).or_insert_with(|| value.as_str().into());
    }
    Some(object)
}
