//! What is said about a key: pure, from what was found.

use dbx_crds::{
    api_key::{DbxApiKeyStatus, KeyStatus},
    gateway::{Condition, Reason, State},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{self, Time};

use super::{accept::Refusal, file::Record};
use crate::status::Finding;

/// How far a key got.
pub(super) enum Outcome {
    /// The gateway does not take it.
    Refused(Refusal),
    /// A new key waits for something, which the words say.
    Waiting(String),
    /// The API server did not take something.
    Failed(Finding),
    /// The application has its key.
    Delivered,
}

/// The status that follows from what was found and the status before.
pub(super) fn status(
    generation: Option<i64>,
    before: &DbxApiKeyStatus,
    outcome: &Outcome,
    records: &[Record],
    now: &Time,
) -> DbxApiKeyStatus {
    let accepted = match outcome {
        Outcome::Refused(Refusal::Rejected(finding)) => fails(finding),
        _ => (State::True, Reason::Accepted, "the gateway takes the key".to_owned()),
    };
    let resolved = match outcome {
        Outcome::Refused(Refusal::Unresolved(finding)) => fails(finding),
        _ => (State::True, Reason::ResolvedRefs, "everything referred to exists".to_owned()),
    };
    let programmed = match outcome {
        Outcome::Refused(_) => (State::False, Reason::NotAccepted, "nothing is made, since the gateway does not take it".to_owned()),
        Outcome::Failed(finding) => fails(finding),
        // The application goes on with the key that it has.
        Outcome::Waiting(what) if !records.is_empty() => {
            (State::True, Reason::Programmed, format!("the Secret holds a key; another one is to replace it: {what}"))
        }
        Outcome::Waiting(what) => (State::False, Reason::Loading, what.clone()),
        Outcome::Delivered => (State::True, Reason::Programmed, "the Secret holds a key, and every ready pod takes it".to_owned()),
    };
    let mut verdicts = vec![(Condition::Accepted, accepted), (Condition::ResolvedRefs, resolved), (Condition::Programmed, programmed)];
    let ready = match verdicts.iter().find(|(_, (state, ..))| *state != State::True) {
        Some((_, (_, reason, message))) => (State::False, *reason, message.clone()),
        None => (State::True, Reason::Ready, "the key can be used".to_owned()),
    };
    verdicts.push((Condition::Ready, ready));
    let conditions = verdicts.into_iter().map(|(condition, (state, reason, message))| {
        let same = before.conditions.iter().find(|known| known.type_ == condition.as_str() && known.status == state.as_str());
        v1::Condition {
            type_: condition.as_str().into(),
            status: state.as_str().into(),
            reason: reason.as_str().into(),
            message,
            observed_generation: generation,
            last_transition_time: same.map_or_else(|| now.clone(), |known| known.last_transition_time.clone()),
        }
    });
    DbxApiKeyStatus {
        observed_generation: generation,
        conditions: conditions.collect(),
        keys: records.iter().map(|record| KeyStatus { id: record.id.clone(), expires: record.expires.map(Time) }).collect(),
    }
}

fn fails(finding: &Finding) -> (State, Reason, String) {
    (State::False, finding.reason, finding.message.clone())
}
