//! The conditions, each from its part of what was found.

use dbx_crds::gateway::{Condition, DbxGateway, DbxGatewayStatus, Reason, State};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{self, Time};

use super::{Finding, Observation, Outcome, is_complete};

type Verdict = (State, Reason, String);

fn verdict(state: State, reason: Reason, message: impl Into<String>) -> Verdict {
    (state, reason, message.into())
}

fn fails(finding: &Finding) -> Verdict {
    (State::False, finding.reason, finding.message.clone())
}

pub(super) fn conditions(gateway: &DbxGateway, before: &DbxGatewayStatus, seen: &Observation<'_>, now: &Time) -> Vec<v1::Condition> {
    let mut verdicts = vec![
        (Condition::Accepted, accepted(seen)),
        (Condition::ResolvedRefs, resolved(seen)),
        (Condition::Programmed, programmed(seen)),
        (Condition::Available, available(seen)),
        (Condition::Progressing, progressing(seen)),
    ];
    verdicts.extend(seen.exposed.clone().map(|verdict| (Condition::Exposed, verdict)));
    verdicts.push((Condition::BackendReachable, reachable(seen)));
    verdicts.push((Condition::Ready, ready(&verdicts)));
    verdicts
        .into_iter()
        .map(|(condition, (state, reason, message))| {
            let same = before.condition(condition).filter(|known| known.status == state.as_str());
            v1::Condition {
                type_: condition.as_str().into(),
                status: state.as_str().into(),
                reason: reason.as_str().into(),
                message,
                observed_generation: gateway.metadata.generation,
                last_transition_time: same.map_or_else(|| now.clone(), |known| known.last_transition_time.clone()),
            }
        })
        .collect()
}

fn accepted(seen: &Observation<'_>) -> Verdict {
    match &seen.outcome {
        Outcome::Rejected(finding) => fails(finding),
        _ => verdict(State::True, Reason::Accepted, "the object makes sense"),
    }
}

fn resolved(seen: &Observation<'_>) -> Verdict {
    match &seen.refs {
        Ok(()) => verdict(State::True, Reason::ResolvedRefs, "everything referred to exists"),
        Err(finding) => fails(finding),
    }
}

fn programmed(seen: &Observation<'_>) -> Verdict {
    match &seen.outcome {
        Outcome::Rejected(_) => {
            verdict(State::False, Reason::NotAccepted, "nothing of this generation was applied, since it was not accepted")
        }
        Outcome::Paused => verdict(
            State::Unknown,
            Reason::Paused,
            "spec.paused is true: nothing is changed until it is false, except which keys are taken",
        ),
        Outcome::Programmed => verdict(State::True, Reason::Programmed, "the API server took every object"),
        Outcome::Failed(finding) => fails(finding),
    }
}

fn available(seen: &Observation<'_>) -> Verdict {
    let status = seen.deployment.and_then(|deployment| deployment.status.as_ref());
    let conditions = status.and_then(|status| status.conditions.as_ref());
    let Some(found) = conditions.and_then(|conditions| conditions.iter().find(|found| found.type_ == "Available")) else {
        return verdict(State::Unknown, Reason::NotObserved, "the Deployment has no status yet");
    };
    let ready = status.and_then(|status| status.ready_replicas).unwrap_or(0);
    let wanted = seen.deployment.and_then(|deployment| deployment.spec.as_ref()?.replicas).unwrap_or(1);
    let message = format!("{ready} of {wanted} pods are ready");
    match found.status.as_str() {
        "True" => verdict(State::True, Reason::Available, message),
        _ => verdict(State::False, Reason::NotAvailable, message),
    }
}

fn progressing(seen: &Observation<'_>) -> Verdict {
    let Some(deployment) = seen.deployment.filter(|deployment| deployment.status.is_some()) else {
        return verdict(State::Unknown, Reason::NotObserved, "the Deployment has no status yet");
    };
    if let Some(version) = seen.waiting.as_ref().filter(|_| is_complete(deployment)) {
        return verdict(State::True, Reason::Queued, format!("version {version} waits until fewer gateways are rolled at once"));
    }
    if is_complete(deployment) {
        return verdict(State::False, Reason::Complete, "every pod is of the current generation and ready");
    }
    let status = deployment.status.as_ref();
    let conditions = || status.iter().flat_map(|status| status.conditions.iter().flatten());
    let late = conditions().any(|found| found.type_ == "Progressing" && found.reason.as_deref() == Some("ProgressDeadlineExceeded"));
    // Pods that cannot even be made: of a quota, a policy, or a ServiceAccount that does not exist.
    let refused = conditions().find(|found| found.type_ == "ReplicaFailure" && found.status == "True");
    let failure = seen.failure.clone().or_else(|| refused?.message.clone());
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let updated = status.and_then(|status| status.updated_replicas).unwrap_or(0);
    match (late, failure) {
        (true, Some(failure)) => verdict(State::False, Reason::DeadlineExceeded, format!("new pods do not become ready; {failure}")),
        (true, None) => verdict(State::False, Reason::DeadlineExceeded, "new pods do not become ready"),
        (false, Some(failure)) => verdict(State::True, Reason::PodFailing, failure),
        (false, None) => verdict(State::True, Reason::RollingOut, format!("{updated} of {wanted} pods are of the current generation")),
    }
}

fn reachable(seen: &Observation<'_>) -> Verdict {
    let unreachable: Vec<String> = seen
        .databases
        .iter()
        .filter(|database| !database.reachable)
        .map(|database| format!("{}: {}", database.name, database.message.as_deref().unwrap_or("not reachable")))
        .collect();
    match (seen.databases.is_empty(), unreachable.is_empty()) {
        (true, _) => verdict(State::Unknown, Reason::NoAnswer, "no pod has said how its databases are"),
        (false, true) => verdict(State::True, Reason::Reachable, "every database answers"),
        (false, false) => verdict(State::False, Reason::Unreachable, unreachable.join("; ")),
    }
}

/// The first condition that stands in the way gives reason and message. Pods being replaced, and not knowing about
/// databases, do not.
fn ready(verdicts: &[(Condition, Verdict)]) -> Verdict {
    let stands_in_the_way = |condition: Condition, state: State| match condition {
        Condition::Progressing | Condition::Ready => false,
        Condition::BackendReachable => state == State::False,
        // While paused nothing new is promised, and what runs goes on running.
        Condition::Programmed => state == State::False,
        _ => state != State::True,
    };
    match verdicts.iter().find(|(condition, (state, ..))| stands_in_the_way(*condition, *state)) {
        Some((_, (_, reason, message))) => verdict(State::False, *reason, message.clone()),
        None => verdict(State::True, Reason::Ready, "the gateway serves"),
    }
}
