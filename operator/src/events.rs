//! Events, on transitions only: what `kubectl describe` shows of how a gateway came to its state.

use dbx_crds::gateway::{Condition, DbxGateway, DbxGatewayStatus, Reason};
use kube::{
    Client, Resource,
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
    pub(crate) async fn publish(&self, gateway: &DbxGateway, before: &DbxGatewayStatus, after: &DbxGatewayStatus) {
        for (type_, reason, note) in transitions(before, after) {
            let event = Event { type_, reason, note: Some(note), action: "Reconcile".into(), secondary: None };
            if let Err(error) = self.0.publish(&event, &gateway.object_ref(&())).await
                && !namespace_ends(&error)
            {
                tracing::warn!(error = %error, "an event could not be published");
            }
        }
    }
}

/// What is worth an event: becoming ready, and each new trouble once.
fn transitions(before: &DbxGatewayStatus, after: &DbxGatewayStatus) -> Vec<(EventType, String, String)> {
    let mut events = Vec::new();
    for condition in [
        Condition::Accepted,
        Condition::ResolvedRefs,
        Condition::Programmed,
        Condition::BackendReachable,
        Condition::Progressing,
        Condition::Ready,
    ] {
        let (Some(now), then) = (after.condition(condition), before.condition(condition)) else { continue };
        if then.is_some_and(|then| then.status == now.status && then.reason == now.reason) {
            continue;
        }
        let trouble = match condition {
            Condition::Ready => false,
            Condition::Progressing => [Reason::PodFailing, Reason::DeadlineExceeded].iter().any(|reason| now.reason == reason.as_str()),
            Condition::Programmed => now.status == "False" && now.reason != Reason::NotAccepted.as_str(),
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

    fn status(conditions: &[(Condition, &str, Reason)]) -> DbxGatewayStatus {
        let conditions = conditions.iter().map(|(condition, status, reason)| {
            serde_json::json!({ "type": condition.as_str(), "status": status, "reason": reason.as_str(), "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z" })
        });
        serde_json::from_value(serde_json::json!({ "conditions": conditions.collect::<Vec<_>>() })).unwrap()
    }

    fn reasons(before: &DbxGatewayStatus, after: &DbxGatewayStatus) -> Vec<String> {
        transitions(before, after).into_iter().map(|(_, reason, _)| reason).collect()
    }

    #[test]
    fn only_transitions_are_told() {
        let new = DbxGatewayStatus::default();
        let starting = status(&[(Condition::Accepted, "True", Reason::Accepted), (Condition::Ready, "False", Reason::NotObserved)]);
        let serving = status(&[(Condition::Accepted, "True", Reason::Accepted), (Condition::Ready, "True", Reason::Ready)]);
        let broken = status(&[(Condition::Accepted, "False", Reason::InvalidConfig), (Condition::Ready, "False", Reason::InvalidConfig)]);
        assert_eq!(reasons(&new, &starting), [""; 0]);
        assert_eq!(reasons(&starting, &serving), ["Ready"]);
        assert_eq!(reasons(&serving, &serving), [""; 0]);
        assert_eq!(reasons(&serving, &broken), ["InvalidConfig"]);
    }
}
