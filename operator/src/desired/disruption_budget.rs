//! Node drains take one pod at a time. With a single pod there is nothing to keep, and a budget would block every drain.

use kube::ResourceExt;
use serde_json::json;

use super::{Input, Kind, Object, object};
use crate::names;

pub(super) fn desired(input: Input<'_>) -> Option<Object> {
    let name = input.gateway.name_any();
    let budget = input.gateway.spec.disruption_budget.as_ref();
    let rest = json!({
        "spec": {
            "maxUnavailable": budget.and_then(|budget| budget.max_unavailable).unwrap_or(1),
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": { "matchLabels": names::selector(&name, "gateway") },
        },
    });
    (input.gateway.spec.replicas() >= 2).then(|| object(input, Kind::PodDisruptionBudget, name, "gateway", rest))
}
