//! The plugin against a real API server, without nodes and without an operator: what those would say is written by the test.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../../operator/tests/control_plane/server.rs"]
mod server;

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams},
};
use serde_json::{Value, json};

use server::{DEADLINE, Server, apply, apply_file, namespace};

const GATEWAYS: &str = "dbx.dev/v1alpha1/DbxGateway";
const PODS: &str = "/v1/Pod";

/// How it ended, and what it printed: output, then errors.
fn run(kubeconfig: &Path, arguments: &str) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-dbx"));
    command.args(arguments.split_whitespace()).env("KUBECONFIG", kubeconfig).env_remove("DBX_TOKEN");
    let output = command.output().unwrap();
    assert!(matches!(output.status.code(), Some(0 | 1)), "{arguments}: {output:?}");
    let [out, errors] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (output.status.success(), out + &errors)
}

#[track_caller]
fn fails(kubeconfig: &Path, arguments: &str, words: &[&str]) {
    let (well, text) = run(kubeconfig, arguments);
    assert!(!well, "{arguments}: {text}");
    for word in words {
        assert!(text.contains(word), "{arguments} does not say {word:?}: {text}");
    }
}

#[track_caller]
fn succeeds(kubeconfig: &Path, arguments: &str, words: &[&str]) {
    let (well, text) = run(kubeconfig, arguments);
    assert!(well, "{arguments}: {text}");
    for word in words {
        assert!(text.contains(word), "{arguments} does not say {word:?}: {text}");
    }
}

async fn say(client: &Client, kind: &str, name: &str, status: Value) {
    let (api_version, kind) = kind.rsplit_once('/').unwrap();
    let (group, version) = api_version.split_once('/').unwrap();
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), "shop", &resource);
    let patch = Patch::Merge(json!({ "status": status }));
    api.patch_status(name, &PatchParams::default(), &patch).await.unwrap();
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({ "type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1 })
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({ "apiVersion": "dbx.dev/v1alpha1", "kind": kind, "metadata": { "name": name, "namespace": "shop" }, "spec": spec })
}

async fn pod(client: &Client, name: &str, hash: &str) {
    let labels = json!({
        "app.kubernetes.io/name": "dbx-gateway", "app.kubernetes.io/component": "gateway", "app.kubernetes.io/instance": "cache",
        "dbx.dev/config-hash": hash,
    });
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": "shop", "labels": labels },
        "spec": { "nodeName": "nowhere", "containers": [{ "name": "gateway", "image": "gateway" }] },
    });
    apply(client, &pod).await;
}

fn pod_status(is_ready: bool, restarts: i32, waiting: Value) -> Value {
    let state = if waiting.is_null() { json!({ "running": {} }) } else { json!({ "waiting": waiting }) };
    json!({
        "phase": "Running",
        "conditions": [{ "type": "Ready", "status": if is_ready { "True" } else { "False" } }],
        "containerStatuses": [{
            "name": "gateway", "ready": is_ready, "restartCount": restarts, "image": "gateway", "imageID": "", "state": state,
        }],
    })
}

#[test]
fn without_a_cluster_it_says_so() {
    let folder = tempfile::tempdir().unwrap();
    fails(&folder.path().join("nothing"), "status", &["no cluster: neither KUBECONFIG nor"]);
    fails(&folder.path().join("nothing"), "status --context prod", &["no cluster: neither KUBECONFIG nor"]);
    let file = folder.path().join("config");
    let [port] = server::free_ports();
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "it",
        "clusters": [{ "name": "it", "cluster": { "server": format!("https://127.0.0.1:{port}") } }],
        "contexts": [{ "name": "it", "context": { "cluster": "it", "user": "it" } }], "users": [{ "name": "it", "user": {} }],
    });
    std::fs::write(&file, config.to_string()).unwrap();
    fails(&file, "status", &["the API server does not answer"]);
}

#[tokio::test]
async fn it_tells_what_there_is() {
    let server = Server::start(&[("nobody", "nobody", "nobodies"), ("viewer", "viewer", "viewers")], None).await;
    let client = server.admin().await;
    let [admin, nobody, viewer] = ["admin", "nobody", "viewer"].map(|user| server.kubeconfig(user));
    fails(&admin, "status -A", &["the definitions (CRDs) are not installed"]);
    fails(&admin, "keys cache -n shop", &["the definitions (CRDs) are not installed"]);

    apply_file(&client, "manifests/operator.yaml").await;
    server.serves("/apis/dbx.dev/v1alpha1/dbxgateways").await;
    server.serves("/apis/dbx.dev/v1alpha1/dbxapikeys").await;
    namespace(&client, "shop").await;
    succeeds(&admin, "status -n shop", &["no gateways in the namespace shop"]);
    fails(&admin, "status cache -n shop", &["in the namespace shop: no dbxgateways.dbx.dev cache"]);
    fails(&admin, "top cache -n shop", &["in the namespace shop: no dbxgateways.dbx.dev cache"]);

    let database = json!([{ "name": "redis", "redis": { "url": "redis://elsewhere" } }]);
    apply(&client, &object("DbxGateway", "cache", json!({ "config": { "databases": database, "auth": { "mode": "required" } } }))).await;
    fails(&admin, "status cache -n shop", &["! the operator has not looked at generation 1 yet"]);
    fails(&admin, "call cache ping -n shop", &["cache has no pods"]);
    fails(&admin, "logs cache -n shop", &["cache has no pods"]);

    let refused = json!([{ "name": "redis", "kind": "redis", "reachable": false, "message": "connection refused" }]);
    let unreachable = condition("BackendReachable", "False", "Unreachable", "redis: connection refused");
    let rolled = condition("Progressing", "False", "Complete", "every pod is of the current generation and ready");
    let mut status = json!({ "observedGeneration": 1, "configHash": "0000000a", "databases": refused, "url": "http://cache.shop.svc:3000", "conditions": [rolled, unreachable] });
    say(&client, GATEWAYS, "cache", status.clone()).await;
    pod(&client, "cache-5d5b9-abcde", "0000000a").await;
    let waiting = json!({ "reason": "CrashLoopBackOff", "message": "back-off 5m0s" });
    say(&client, PODS, "cache-5d5b9-abcde", pod_status(false, 4, waiting)).await;
    let bad = [
        "NOT WELL",
        "! BackendReachable=False Unreachable: redis: connection refused",
        "! 0/1 pods ready",
        "CrashLoopBackOff: back-off 5m0s",
    ];
    fails(&admin, "status cache -n shop", &bad);
    fails(&admin, "status -A", &bad);
    fails(&admin, "call cache ping -n shop", &["no pod of cache is ready: cache-5d5b9-abcde: CrashLoopBackOff"]);

    let spec = json!({ "gatewayRef": { "name": "cache" }, "access": ["read"], "secretName": "web-dbx" });
    apply(&client, &object("DbxApiKey", "web", spec)).await;
    succeeds(&admin, "keys cache -n shop", &["shop", "web", "none yet", "not looked at by the operator yet"]);
    let loading = condition("Ready", "False", "Loading", "cache-5d5b9-abcde has not read it");
    let taken = json!([{ "id": "k7" }, { "id": "k6", "expires": "2026-02-01T00:00:00Z" }]);
    say(&client, "dbx.dev/v1alpha1/DbxApiKey", "web", json!({ "observedGeneration": 1, "conditions": [loading], "keys": taken })).await;
    succeeds(&admin, "keys cache -n shop", &["k7", "k6", "2026-02-01T00:00:00Z", "no", "Loading: cache-5d5b9-abcde has not read it"]);
    fails(&admin, "status cache -n shop", &["! 0/1 keys ready", "shop/web waits: Loading: cache-5d5b9-abcde has not read it"]);
    fails(&admin, "call cache ping --key web -n shop", &["the key web is Loading", "in the namespace shop: no secrets web-dbx"]);
    fails(&admin, "call cache ping --key none -n shop", &["in the namespace shop: no dbxapikeys.dbx.dev none"]);

    status["databases"] = json!([{ "name": "redis", "kind": "redis", "reachable": true }]);
    status["conditions"] = json!([condition("Ready", "True", "Ready", "the gateway serves")]);
    say(&client, GATEWAYS, "cache", status).await;
    say(&client, PODS, "cache-5d5b9-abcde", pod_status(true, 4, Value::Null)).await;
    let ready = condition("Ready", "True", "Ready", "the key can be used");
    say(&client, "dbx.dev/v1alpha1/DbxApiKey", "web", json!({ "observedGeneration": 1, "conditions": [ready] })).await;
    succeeds(&admin, "status -A", &["shop/cache: well; 1/1 pods ready, 1/1 databases reachable, 1/1 keys ready"]);
    succeeds(&admin, "status cache -n shop", &["shop/cache: well\n", "http://cache.shop.svc:3000"]);
    pod(&client, "cache-5d5b9-fghij", "0000000b").await;
    say(&client, PODS, "cache-5d5b9-fghij", pod_status(true, 0, Value::Null)).await;
    fails(&admin, "status cache -n shop", &["0000000b, not current"]);

    // The pods exist on no node: the API server reaches nothing, and says so.
    fails(&admin, "logs cache -n shop", &["logs of cache-5d5b9-abcde"]);
    fails(&admin, "call cache ping -n shop", &["port-forward to cache-5d5b9-abcde"]);

    let forbidden = [r#"cannot list resource "dbxgateways" in API group "dbx.dev" at the cluster scope"#];
    fails(&nobody, "status -A", &forbidden);
    fails(&nobody, "keys cache -n shop", &[r#"cannot get resource "dbxgateways" in API group "dbx.dev" in the namespace "shop""#]);
    let mut rules = json!([
        { "apiGroups": ["dbx.dev"], "resources": ["dbxgateways"], "verbs": ["get", "list"] },
        { "apiGroups": [""], "resources": ["pods"], "verbs": ["list"] },
        { "apiGroups": [""], "resources": ["pods/portforward"], "verbs": ["watch"] },
    ]);
    let meta = json!({ "name": "viewer", "namespace": "shop" });
    let role = |rules: &Value| json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": meta, "rules": rules });
    apply(&client, &role(&rules)).await;
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": meta,
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "viewer" },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "viewer" }],
    });
    apply(&client, &binding).await;
    // Gateways can be looked after without seeing keys.
    fails(&viewer, "status cache -n shop", &["1/1 databases reachable", "keys not shown: dbxapikeys.dbx.dev is forbidden"]);
    fails(&viewer, "keys cache -n shop", &[r#"cannot list resource "dbxapikeys" in API group "dbx.dev" in the namespace "shop""#]);
    fails(&viewer, "call cache ping -n shop", &[r#"cannot get resource "pods/portforward""#]);
    fails(&viewer, "logs cache -n shop", &[r#"cannot get resource "pods/log""#]);

    // A port-forward takes two verbs.
    for (verbs, missing) in
        [(json!(["get"]), "you need `get` and `create` on `pods/portforward`: pods"), (json!(["get", "create"]), "nowhere")]
    {
        rules[2]["verbs"] = verbs;
        apply(&client, &role(&rules)).await;
        let start = Instant::now();
        while !run(&viewer, "call cache ping -n shop").1.contains(missing) {
            assert!(start.elapsed() < DEADLINE, "{missing}: {:?}", run(&viewer, "call cache ping -n shop"));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
