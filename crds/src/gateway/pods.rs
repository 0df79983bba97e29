//! How the pods of a gateway are found and reached: what the operator gives them, and others rely on.

use std::collections::BTreeMap;

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
