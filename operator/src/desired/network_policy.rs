//! Who may reach the pods, and what they may reach. Probes come from the node, which a NetworkPolicy does not stop.

use kube::ResourceExt;
use serde_json::{Value, json};

use super::{Input, Kind, Object, managed, object, redis};
use crate::{
    names,
    render::{DATA_PORT, OPERATIONS_PORT},
};

pub(super) fn desired(input: Input<'_>) -> Option<Object> {
    let policy = input.gateway.spec.network_policy.as_ref()?;
    let name = input.gateway.name_any();
    let tcp = |port: u16| json!([{ "protocol": "TCP", "port": port }]);
    let operator = json!({ "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": input.settings.namespace } } });
    let watchers: Vec<Value> = std::iter::once(operator).chain(policy.metrics_from.iter().map(|peer| json!(peer))).collect();
    let ingress = json!([
        { "ports": tcp(DATA_PORT), "from": (!policy.from.is_empty()).then_some(&policy.from) },
        { "ports": tcp(OPERATIONS_PORT), "from": watchers },
    ]);
    let egress = policy.egress.as_ref().map(|peers| {
        let mut rules = vec![json!({ "ports": [{ "protocol": "UDP", "port": 53 }, { "protocol": "TCP", "port": 53 }] })];
        if managed(input.gateway).next().is_some() {
            let selector = names::selector(&name, redis::COMPONENT);
            rules.push(json!({ "ports": tcp(redis::PORT), "to": [{ "podSelector": { "matchLabels": selector } }] }));
        }
        if !peers.is_empty() {
            rules.push(json!({ "to": peers }));
        }
        rules
    });
    let types = if egress.is_some() { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
    let rest = json!({
        "spec": {
            "podSelector": { "matchLabels": names::selector(&name, "gateway") },
            "policyTypes": types,
            "ingress": ingress,
            "egress": egress,
        },
    });
    Some(object(input, Kind::NetworkPolicy, name, "gateway", rest))
}
