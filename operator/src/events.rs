//! Events, on transitions only: what `kubectl describe` shows of how a gateway came to its state.

use dbx_crds::gateway::{Condition, Reason};
use k8s_openapi::{api::core::v1::ObjectReference, apimachinery::pkg::apis::meta::v1};
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};

use crate::{controller::namespace_ends, names::MANAGER};

/// Publishes events.
pub(crate) struct Events(Recorder);

impl Events {
    pub(crate) fn new(client: Client) -> Self {
        Self(Recorder::new(client, Reporter { controller: MANAGER.into(), instance: std::env::var("HOSTNAME").ok() }))
    }

    /// Publishes what changed. An event that cannot be published is not worth a retry.
    pub(crate) async fn publish(&self, object: &ObjectReference, before: &[v1::Condition], after: &[v1::Condition]) {
        for (type_, reason, note) in transitions(before, after) {
            let event = Event { type_, reason, note: Some(note), action: "Reconcile".into(), secondary: None };
            if let Err(error) = self.0.publish(&event, object).await
                && !namespace_ends(&error)
            {
                tracing::warn!(error = %error, "an event could not be published");
            }
        }
    }
}

fn find(conditions: &[v1::Condition], condition: Condition) -> Option<&v1::Condition> {
    conditions.iter().find(|found| found.type_ == condition.as_str())
}

/// What is worth an event: becoming ready, and each new trouble once.
fn transitions(before: &[v1::Condition], after: &[v1::Condition]) -> Vec<(EventType, String, String)> {
    let mut events = Vec::new();
    for condition in [
        Condition::Accepted,
        Condition::ResolvedRefs,
        Condition::Programmed,
        Condition::BackendReachable,
        Condition::Progressing,
        Condition::Ready,
    ] {
        let (Some(now), then) = (find(after, condition), find(before, condition)) else { continue };
        if then.is_some_and(|then| then.status == now.status && then.reason == now.reason) {
            continue;
        }
        let trouble = match condition {
            Condition::Ready => false,
            Condition::Progressing => [Reason::PodFailing, Reason::DeadlineExceeded].iter().any(|reason| now.reason == reason.as_str()),
            Condition::Programmed => {
                now.status == "False" && [Reason::NotAccepted, Reason::Loading].iter().all(|reason| now.reason != reason.as_str())
            }
            _ => now.status == "False",
        };
        let note: String = now.message.chars().take(1000).collect();
        if trouble {
            events.push((EventType::Warning, now.reason.clone(), note));
        } else if condition == Condition::Ready && now.status == "True" {
            events.push((EventType::Normal, now.reason.clone(), note));
        }
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(conditions: &[(Condition, &str, Reason)]) -> Vec<v1::Condition> {
        let conditions = conditions.iter().map(|(condition, status, reason)| {
            serde_json::json!({ "type": condition.as_str(), "status": status, "reason": reason.as_str(), "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z" })
        });
        conditions.map(|condition| serde_json::from_value(condition).unwrap()).collect()
    }

    fn reasons(before: &[v1::Condition], after: &[v1::Condition]) -> Vec<String> {
        transitions(before, after).into_iter().map(|(_, reason, _)| reason).collect()
    }

    #[test]
    fn only_transitions_are_told() {
        let new = Vec::new();
        let starting = status(&[(Condition::Accepted, "True", Reason::Accepted), (Condition::Ready, "False", Reason::NotObserved)]);
        let serving = status(&[(Condition::Accepted, "True", Reason::Accepted), (Condition::Ready, "True", Reason::Ready)]);
        let broken = status(&[(Condition::Accepted, "False", Reason::InvalidConfig), (Condition::Ready, "False", Reason::InvalidConfig)]);
        assert_eq!(reasons(&new, &starting), [""; 0]);
        assert_eq!(reasons(&starting, &serving), ["Ready"]);
        assert_eq!(reasons(&serving, &serving), [""; 0]);
        assert_eq!(reasons(&serving, &broken), ["InvalidConfig"]);
    }
}
