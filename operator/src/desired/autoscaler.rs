//! The HorizontalPodAutoscaler. While there is one, the Deployment says nothing about its replicas.

use kube::ResourceExt;
use serde_json::{Value, json};

use super::{Input, Kind, Object, object};

/// The gauge of the gateways that calls are counted by.
const CALLS_IN_FLIGHT: &str = "dbx_calls_in_flight";
/// The share of the CPU in percent when nothing else is said.
const CPU: i32 = 80;

pub(super) fn desired(input: Input<'_>) -> Option<Object> {
    let autoscaling = input.gateway.spec.autoscaling.as_ref()?;
    let name = input.gateway.name_any();
    let calls = autoscaling.calls_in_flight.filter(|_| input.apis.custom_metrics);
    let cpu = autoscaling.cpu_utilization.or(calls.is_none().then_some(CPU));
    let cpu = cpu.map(|share| -> Value {
        json!({ "type": "Resource", "resource": { "name": "cpu", "target": { "type": "Utilization", "averageUtilization": share } } })
    });
    let calls = calls.map(|calls| -> Value {
        let target = json!({ "type": "AverageValue", "averageValue": calls.to_string() });
        json!({ "type": "Pods", "pods": { "metric": { "name": CALLS_IN_FLIGHT }, "target": target } })
    });
    let rest = json!({
        "spec": {
            "scaleTargetRef": { "apiVersion": Kind::Deployment.api_version(), "kind": Kind::Deployment.name(), "name": name },
            "minReplicas": input.gateway.spec.replicas(),
            "maxReplicas": autoscaling.max_replicas,
            "metrics": cpu.into_iter().chain(calls).collect::<Vec<_>>(),
        },
    });
    Some(object(input, Kind::HorizontalPodAutoscaler, name, "gateway", rest))
}
