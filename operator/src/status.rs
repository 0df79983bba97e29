//! What is said about a gateway: pure, from what was found. A condition keeps its time unless its status changes, and a
//! status without news is not written.

mod conditions;

use dbx_crds::gateway::{DatabaseStatus, DbxGateway, DbxGatewayStatus, Reason, State};
use k8s_openapi::{api::apps::v1::Deployment, apimachinery::pkg::apis::meta::v1::Time};
use kube::ResourceExt;

use crate::names;

/// A reason and the words for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// For machines.
    pub reason: Reason,
    /// For people.
    pub message: String,
}

impl Finding {
    /// A finding.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// How far a generation got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was not accepted; nothing was changed.
    Rejected(Finding),
    /// `spec.paused`: nothing was changed but which keys are taken.
    Paused,
    /// The API server took everything.
    Programmed,
    /// The API server did not take everything.
    Failed(Finding),
}

/// Everything that was found.
#[derive(Clone, Debug)]
pub struct Observation<'a> {
    /// How far the generation got.
    pub outcome: Outcome,
    /// Whether everything referred to exists.
    pub refs: Result<(), Finding>,
    /// The Deployment's status, if there is one.
    pub deployment: Option<&'a Deployment>,
    /// Why the newest pod is not ready.
    pub failure: Option<String>,
    /// The databases as the pods see them; empty when none answered.
    pub databases: Vec<DatabaseStatus>,
    /// The hash of the rendered configuration.
    pub config_hash: Option<String>,
    /// The tag or digest of the image.
    pub version: Option<String>,
    /// Whether it is reached from outside, if it is to be.
    pub exposed: Option<(State, Reason, String)>,
    /// The newer version that waits for its turn.
    pub waiting: Option<String>,
}

/// The status that follows from an observation and the status before.
pub fn status(gateway: &DbxGateway, before: &DbxGatewayStatus, seen: &Observation<'_>, now: &Time) -> DbxGatewayStatus {
    let rollout = seen.deployment.and_then(|deployment| deployment.status.as_ref());
    let name = gateway.name_any();
    let applied = matches!(seen.outcome, Outcome::Programmed | Outcome::Failed(_));
    let selector = names::selector(&name, "gateway").into_iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>();
    let reachable = seen.databases.iter().filter(|database| database.reachable).count();
    DbxGatewayStatus {
        observed_generation: gateway.metadata.generation,
        conditions: conditions::conditions(gateway, before, seen, now),
        replicas: Some(rollout.and_then(|rollout| rollout.replicas).unwrap_or(0)),
        ready_replicas: Some(rollout.and_then(|rollout| rollout.ready_replicas).unwrap_or(0)),
        selector: Some(selector.join(",")),
        url: Some(url(gateway)),
        config_hash: if applied { seen.config_hash.clone() } else { before.config_hash.clone() },
        version: if applied { seen.version.clone() } else { before.version.clone() },
        databases_ready: Some(format!("{reachable}/{}", gateway.spec.config.databases.len())),
        databases: seen.databases.clone(),
    }
}

/// Where a gateway is reached inside the cluster.
pub(crate) fn url(gateway: &DbxGateway) -> String {
    let scheme = if gateway.spec.config.listen.tls.is_some() { "https" } else { "http" };
    format!("{scheme}://{}.{}.svc:{}", gateway.name_any(), gateway.namespace().unwrap_or_default(), gateway.spec.port())
}

/// Whether every pod is of the newest template and available.
pub fn is_complete(deployment: &Deployment) -> bool {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    deployment.status.as_ref().is_some_and(|status| {
        status.observed_generation >= deployment.metadata.generation
            && status.updated_replicas.unwrap_or(0) == wanted
            && status.replicas.unwrap_or(0) == wanted
            && status.available_replicas.unwrap_or(0) == wanted
    })
}

#[cfg(test)]
mod tests;
