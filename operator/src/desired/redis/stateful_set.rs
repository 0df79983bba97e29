//! The server. A StatefulSet of one never runs two servers on one volume.

use dbx_crds::config::{Amounts, Managed, Persistence};
use kube::ResourceExt;
use serde_json::{Value, json};

use super::{
    super::{object, of_version, pull_secrets},
    COMPONENT, Input, Object, claim_name,
    config_map::{AUTH_DIRECTORY, DIRECTORY, FILE, file},
    name,
    service::selector,
};
use crate::{desired::Kind, names};

/// The user that the image runs as.
const USER: i64 = 999;

pub(super) fn desired(input: Input<'_>, database: &str, managed: &Managed) -> Object {
    let name = name(input, database);
    let mut labels = json!(names::labels(&input.gateway.name_any(), COMPONENT));
    labels[names::DATABASE] = database.into();
    let rest = json!({
        "spec": {
            "replicas": 1,
            "serviceName": name,
            "selector": { "matchLabels": selector(input, database) },
            "template": {
                "metadata": {
                    "labels": labels,
                    "annotations": {
                        // Redis reads both files when it starts: a change of either has to restart it.
                        names::CONFIG_HASH: names::hash8(file(managed).as_bytes()),
                        "dbx.dev/auth": input.auth.get(database),
                    },
                },
                "spec": {
                    "automountServiceAccountToken": false,
                    "enableServiceLinks": false,
                    "terminationGracePeriodSeconds": 60,
                    "nodeSelector": (!input.gateway.spec.node_selector.is_empty()).then_some(&input.gateway.spec.node_selector),
                    "tolerations": (!input.gateway.spec.tolerations.is_empty()).then_some(&input.gateway.spec.tolerations),
                    "priorityClassName": input.gateway.spec.priority_class_name,
                    "imagePullSecrets": pull_secrets(input),
                    "securityContext": {
                        "runAsNonRoot": true,
                        "runAsUser": USER,
                        "runAsGroup": USER,
                        "fsGroup": USER,
                        "fsGroupChangePolicy": "OnRootMismatch",
                        "seccompProfile": { "type": "RuntimeDefault" },
                    },
                    "containers": [container(input, managed)],
                    "volumes": [
                        { "name": "config", "configMap": { "name": name } },
                        { "name": "auth", "secret": { "secretName": names::auth(&input.gateway.name_any(), database), "items": [{ "key": super::ACL_FILE, "path": super::ACL_FILE }] } },
                        data(input, database, managed),
                    ],
                },
            },
        },
    });
    object(input, Kind::StatefulSet, name, COMPONENT, rest)
}

/// Where its data lives: what nobody keeps goes with the pod.
fn data(input: Input<'_>, database: &str, managed: &Managed) -> Value {
    match managed.persistence() {
        Persistence::None => json!({ "name": "data", "emptyDir": {} }),
        Persistence::Rdb | Persistence::Aof => {
            json!({ "name": "data", "persistentVolumeClaim": { "claimName": claim_name(input, database) } })
        }
    }
}

fn resources(managed: &Managed) -> Value {
    let Some(resources) = &managed.resources else { return json!({ "requests": { "cpu": "50m", "memory": "64Mi" } }) };
    let amounts = |amounts: &Option<Amounts>| amounts.as_ref().map(|amounts| json!({ "cpu": amounts.cpu, "memory": amounts.memory }));
    json!({ "requests": amounts(&resources.requests), "limits": amounts(&resources.limits) })
}

fn container(input: Input<'_>, managed: &Managed) -> Value {
    let default = &input.settings.redis_image;
    let image = managed.version.as_ref().map_or_else(|| default.clone(), |version| of_version(default, version));
    let probe = |period: i32, failures: i32| json!({ "tcpSocket": { "port": "redis" }, "periodSeconds": period, "timeoutSeconds": 3, "failureThreshold": failures });
    json!({
        "name": "redis",
        "image": image,
        "imagePullPolicy": input.settings.pull_policy,
        "command": ["redis-server", format!("{DIRECTORY}/{FILE}")],
        "ports": [{ "name": "redis", "containerPort": 6379, "protocol": "TCP" }],
        "resources": resources(managed),
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        },
        "startupProbe": probe(1, 60),
        "readinessProbe": probe(5, 3),
        "livenessProbe": probe(10, 6),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            { "name": "config", "mountPath": DIRECTORY, "readOnly": true },
            { "name": "auth", "mountPath": AUTH_DIRECTORY, "readOnly": true },
            { "name": "data", "mountPath": "/data" },
        ],
    })
}
