//! How the pods of a gateway are found and reached, which others rely on, and what their status tells of them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

/// The port of the API inside a pod.
pub const DATA_PORT: u16 = 3000;
/// The port of probes and metrics inside a pod.
pub const OPERATIONS_PORT: u16 = 9090;
/// The component that pods of gateways are.
pub const COMPONENT: &str = "gateway";
/// The label that holds the gateway's name.
pub const INSTANCE: &str = "app.kubernetes.io/instance";
/// The label of pods, and so of ReplicaSets, that holds the hash of their configuration.
pub const CONFIG_HASH: &str = "dbx.dev/config-hash";

/// The labels that select the pods of a component. They never change, since a Deployment's selector cannot.
pub fn selector(gateway: &str, component: &str) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("app.kubernetes.io/name", "dbx-gateway".to_owned()),
        (INSTANCE, gateway.to_owned()),
        ("app.kubernetes.io/component", component.to_owned()),
    ])
}

/// Whether it takes calls.
pub fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|(status, _)| status == "True")
}

fn condition<'a>(pod: &'a Pod, name: &str) -> Option<(&'a str, Option<&'a str>)> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == name).map(|found| (found.status.as_str(), found.message.as_deref()))
}

/// Why it is not ready, as far as its status tells.
pub fn cause(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let containers = || status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    if let Some(cause) = containers().find_map(terminated).or_else(|| containers().find_map(waiting)) {
        return Some(cause);
    }
    if let Some(("False", Some(message))) = condition(pod, "PodScheduled") {
        return Some(format!("cannot be scheduled: {message}"));
    }
    let reason = status.reason.as_deref().filter(|_| status.phase.as_deref() == Some("Failed"))?;
    Some(format!("{reason}: {}", status.message.as_deref().unwrap_or_default()))
}

/// What a container said when it ended.
fn terminated(container: &ContainerStatus) -> Option<String> {
    let now = container.state.as_ref().and_then(|state| state.terminated.as_ref());
    let last = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let ended = now.or(last).filter(|ended| ended.exit_code != 0)?;
    let said = ended.message.as_deref().map(str::trim).filter(|message| !message.is_empty());
    let reason = ended.reason.as_deref().unwrap_or("Error");
    Some(match said {
        Some(said) => format!("exited with code {}: {said}", ended.exit_code),
        None => format!("exited with code {} ({reason}) and said nothing", ended.exit_code),
    })
}

/// What a container waits for, when it is more than its turn.
fn waiting(container: &ContainerStatus) -> Option<String> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.as_deref().filter(|reason| !matches!(*reason, "ContainerCreating" | "PodInitializing"))?;
    Some(match waiting.message.as_deref() {
        Some(message) => format!("{reason}: {message}"),
        None => reason.to_owned(),
    })
}

/// Why a person should not count on it, if there is a reason.
pub fn trouble(pod: &Pod) -> Option<String> {
    if pod.metadata.deletion_timestamp.is_some() {
        return Some("is being deleted".into());
    }
    let phase = || pod.status.as_ref()?.phase.clone().filter(|phase| phase != "Running");
    (!is_ready(pod)).then(|| cause(pod).or_else(phase).unwrap_or_else(|| "runs, and is not ready".into()))
}

/// The container that serves.
pub fn container(pod: &Pod) -> Option<&ContainerStatus> {
    let mut containers = pod.status.as_ref()?.container_statuses.as_ref()?.iter();
    containers.find(|container| container.name == COMPONENT)
}
