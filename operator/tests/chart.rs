//! The chart's rights, the examples, and what is generated, as far as files tell.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{collections::BTreeSet, process::Command};

use clap::Parser;
use dbx_crds::{api_key::DbxApiKey, config::GatewayConfig, gateway::DbxGateway};
use dbx_operator::args::Args;
use serde_json::Value;

fn documents(path: &str) -> Vec<Value> {
    let path = format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let documents = text.split("\n---").map(|document| serde_yaml::from_str(document).unwrap());
    documents.filter(|document: &Value| !document.is_null()).collect()
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[test]
fn rights_are_the_least_that_will_do() {
    let roles: Vec<Value> = documents("manifests/operator.yaml").into_iter().filter(|document| document["kind"] == "ClusterRole").collect();
    assert_eq!(roles.len(), 4);
    for rule in roles.iter().flat_map(|role| role["rules"].as_array().unwrap()) {
        for field in ["apiGroups", "resources", "verbs"] {
            assert!(!strings(&rule[field]).iter().any(|word| word.contains('*')), "{rule}");
        }
        if strings(&rule["resources"]).contains(&"secrets") {
            assert_eq!(strings(&rule["verbs"]), ["get", "create", "patch", "delete"]);
        }
        assert!(strings(&rule["apiGroups"]).iter().all(|group| *group != "rbac.authorization.k8s.io"), "{rule}");
    }
}

#[test]
fn examples_are_valid() {
    for (file, names, keys) in [
        ("quickstart", vec!["quickstart"], 1),
        ("existing-redis", vec!["cache-api"], 0),
        ("service-accounts", vec!["accounts"], 0),
        ("tenants", vec!["tenants"], 2),
    ] {
        let documents = documents(&format!("manifests/examples/{file}.yaml"));
        let found = documents.iter().filter(|document| document["kind"] == "DbxApiKey");
        let found: Vec<DbxApiKey> = found.map(|document| serde_json::from_value(document.clone()).unwrap()).collect();
        assert_eq!(found.len(), keys, "{file}");
        assert!(found.iter().all(|key| names.contains(&key.spec.gateway_ref.name.as_str())), "{file}");
        let gateways = documents.into_iter().filter(|document| document["kind"] == "DbxGateway");
        let gateways: Vec<DbxGateway> = gateways.map(|document| serde_json::from_value(document).unwrap()).collect();
        assert_eq!(gateways.iter().map(|gateway| gateway.metadata.name.as_deref().unwrap()).collect::<Vec<_>>(), names);
        for gateway in gateways {
            assert_eq!(gateway.spec.config.validate_on_kubernetes(), [], "{file}");
            assert!(gateway.spec.replicas.is_some(), "{file} cannot be scaled");
        }
    }
}

#[test]
fn the_manifest_has_the_current_definitions() {
    let documents = documents("manifests/operator.yaml");
    let mut rendered: Vec<Value> = documents.into_iter().filter(|document| document["kind"] == "CustomResourceDefinition").collect();
    for definition in &mut rendered {
        definition["metadata"].as_object_mut().unwrap().remove("annotations");
    }
    let current = [dbx_crds::api_key::crd(), dbx_crds::gateway::crd()].map(|crd| serde_json::to_value(crd).unwrap());
    rendered.sort_by_key(|definition| definition["metadata"]["name"].to_string());
    assert_eq!(rendered, current, "stale; `make generate` writes it");
}

/// What Helm makes of the chart of gateways with some values.
fn gateway_chart(values: &str) -> Result<String, String> {
    chart("dbx-gateway", values)
}

/// What Helm makes of a chart with some values.
fn chart(name: &str, values: &str) -> Result<String, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), values).unwrap();
    let mut helm = Command::new("helm");
    helm.args(["template", "cache"]).arg(format!("{}/../charts/{name}", env!("CARGO_MANIFEST_DIR"))).arg("--values").arg(file.path());
    helm.args(["--namespace", "shop", "--kube-version", "1.35.0"]);
    let output = helm.output().expect("helm is on the path: `PATH=$(e2e/cluster/cluster tools):$PATH`");
    let (out, error) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    if output.status.success() { Ok(out) } else { Err(error) }
}

/// The objects that Helm makes of a chart with some values.
fn rendered(name: &str, values: &str) -> Vec<Value> {
    objects(&chart(name, values).unwrap())
}

fn objects(rendered: &str) -> Vec<Value> {
    let documents = rendered.split("\n---").map(|document| serde_yaml::from_str(document.trim_start_matches("---")).unwrap());
    documents.filter(|document: &Value| !document.is_null()).collect()
}

#[test]
fn a_gateway_without_the_operator() {
    let config = r#"{"databases":[{"name":"redis","redis":{"url":"redis://elsewhere","passwordFrom":{"secretKeyRef":{"name":"redis","key":"password"}}}}],"auth":{"mode":"none"},"limits":{"callTimeout":"1s","maxInFlight":1000000}}"#;
    let values = format!(
        "config: {config}\nsecrets: [redis]\nconfigMaps: [authority]\nhosts: [api.example.com]\nextraEnv: [{{ name: A, value: b }}]\n"
    );
    let rendered = gateway_chart(&values).unwrap();
    let documents = objects(&rendered);
    let map = documents.iter().find(|document| document["kind"] == "ConfigMap").unwrap();
    let passed: Value = serde_yaml::from_str(map["data"]["config.yaml"].as_str().unwrap()).unwrap();
    assert_eq!(passed, serde_json::from_str::<Value>(config).unwrap(), "it is passed through as it is");
    let passed: GatewayConfig = serde_json::from_value(passed).unwrap();
    assert_eq!(passed.validate(), []);
    check_restricted(&documents);
    insta::assert_snapshot!(rendered);

    for (values, expected) in [
        ("config: { limits: { foo: 1 } }", "additional properties 'foo' not allowed"),
        ("config: { auth: { mode: null } }", "config.auth.mode has to be said"),
        ("config: { listen: { data: '0.0.0.0:1' } }", "the ports of the pod"),
    ] {
        let error = gateway_chart(values).unwrap_err();
        assert!(error.contains(expected), "{values}: {error}");
    }
}

#[test]
fn metrics_of_the_operator_are_collected_when_asked_for() {
    let monitor = |values: &str| rendered("dbx-operator", values).into_iter().find(|document| document["kind"] == "ServiceMonitor");
    assert_eq!(monitor("{}"), None);
    let monitor = monitor("serviceMonitor: { enabled: true, labels: { release: prometheus }, interval: 30s }").unwrap();
    assert_eq!(monitor["metadata"]["labels"]["release"], "prometheus");
    assert_eq!(monitor["spec"]["endpoints"][0], serde_json::json!({ "port": "http", "interval": "30s" }));
    let service = documents("manifests/operator.yaml").into_iter().find(|document| document["kind"] == "Service").unwrap();
    assert_eq!(service["spec"]["ports"][0]["name"], monitor["spec"]["endpoints"][0]["port"]);
    let selected = monitor["spec"]["selector"]["matchLabels"].as_object().unwrap();
    assert!(selected.keys().all(|label| service["metadata"]["labels"].get(label).is_some()), "the Service has {selected:?}");
    let error = chart("dbx-operator", "serviceMonitor: { interval: soon }").unwrap_err();
    assert!(error.contains("serviceMonitor") && error.contains("interval"), "{error}");
}

const BOTH: &str = "monitoring: { dashboards: { enabled: true }, alerts: { enabled: true, labels: { release: prometheus } } }";

#[test]
fn dashboards_and_alerts_come_when_asked_for() {
    let of = |values: &str| {
        let mut documents = rendered("dbx-operator", values);
        documents.retain(|document| matches!(document["kind"].as_str(), Some("ConfigMap" | "PrometheusRule")));
        documents
    };
    assert_eq!(of("{}"), [Value::Null; 0]);
    let documents = of(BOTH);
    let [dashboards, alerts] = &documents[..] else { panic!("{documents:?}") };
    assert_eq!(dashboards["metadata"]["labels"]["grafana_dashboard"], "1");
    for (name, text) in dashboards["data"].as_object().unwrap() {
        let dashboard: Value = serde_json::from_str(text.as_str().unwrap()).unwrap();
        assert_eq!(format!("{}.json", dashboard["uid"].as_str().unwrap()), *name);
        let panels = dashboard["panels"].as_array().unwrap();
        let ids: BTreeSet<i64> = panels.iter().map(|panel| panel["id"].as_i64().unwrap()).collect();
        assert_eq!(ids.len(), panels.len());
    }
    assert_eq!(alerts["metadata"]["labels"]["release"], "prometheus");
    let rules = alerts["spec"]["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap());
    let mut names = BTreeSet::new();
    for rule in rules {
        assert!(names.insert(rule["alert"].as_str().unwrap()), "{rule}");
        assert!(["warning", "critical"].contains(&rule["labels"]["severity"].as_str().unwrap()), "{rule}");
        assert!(rule["annotations"]["summary"].is_string() && rule["annotations"]["description"].is_string(), "{rule}");
    }
    let error = chart("dbx-operator", "monitoring: { alert: {} }").unwrap_err();
    assert!(error.contains("monitoring") && error.contains("alert"), "{error}");
}

/// What is between quotes in a source file.
fn quoted(path: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    text.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Every expression names metrics that the programs have and, in a selector of codes, codes that the gateway has. The sources are
/// read, since a program shows a metric only once it has something to count.
#[test]
fn dashboards_and_alerts_know_the_metrics() {
    let gateway = quoted("gateway/src/metrics.rs");
    let operator = quoted("operator/src/metrics.rs");
    let codes = quoted("gateway/src/error.rs");
    let is_known = |metric: &str| {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| metric.strip_suffix(suffix)).unwrap_or(metric);
        let short = metric.strip_prefix("dbx_operator_").is_some_and(|name| operator.contains(name));
        short || [metric, base].into_iter().any(|name| gateway.contains(name) || operator.contains(name))
    };
    assert!(is_known("dbx_call_duration_seconds_bucket") && is_known("dbx_operator_prunes_total") && !is_known("dbx_calls"));
    let documents = rendered("dbx-operator", BOTH);
    let mut expressions = Vec::new();
    for document in &documents {
        match document["kind"].as_str() {
            Some("ConfigMap") => {
                for text in document["data"].as_object().unwrap().values() {
                    let dashboard: Value = serde_json::from_str(text.as_str().unwrap()).unwrap();
                    collect(&dashboard, &mut expressions);
                }
            }
            Some("PrometheusRule") => collect(document, &mut expressions),
            _ => {}
        }
    }
    assert!(expressions.len() > 40, "{expressions:?}");
    let (mut words, mut checked) = (BTreeSet::new(), 0);
    for expression in &expressions {
        let balance = |open: char, close: char| expression.matches(open).count() == expression.matches(close).count();
        assert!(balance('(', ')') && balance('{', '}') && balance('[', ']'), "{expression}");
        let is_word = |character: char| character.is_ascii_alphanumeric() || character == '_';
        for metric in expression.split(|character| !is_word(character)).filter(|word| word.starts_with("dbx_")) {
            assert!(is_known(metric), "nobody exports {metric}: {expression}");
            words.insert(metric);
        }
        for list in expression.split("=~\"").skip(1).map(|rest| rest.split('"').next().unwrap()).filter(|list| !list.starts_with('$')) {
            assert!(list.split('|').all(|code| codes.contains(code)), "{list} are not all codes");
            checked += 1;
        }
    }
    assert!(words.len() > 30 && checked > 2, "{words:?}");
}

/// Everything that is asked of Prometheus.
fn collect(value: &Value, expressions: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str().filter(|_| name == "expr" || name == "query") {
                    Some(expression) => expressions.push(expression.into()),
                    None => collect(value, expressions),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, expressions)),
        _ => {}
    }
}

#[test]
fn an_installation_can_be_tested() {
    let documents = rendered("dbx-operator", "registry: mirror.example.com");
    let is_hook = |document: &&Value| document["metadata"]["annotations"]["helm.sh/hook"] == "test";
    let hooks: Vec<&Value> = documents.iter().filter(is_hook).collect();
    assert_eq!(
        hooks.iter().map(|hook| hook["kind"].as_str().unwrap()).collect::<Vec<_>>(),
        ["ServiceAccount", "Role", "RoleBinding", "Pod"]
    );
    let (role, pod) = (hooks[1], hooks[3]);
    assert_eq!(role["rules"], serde_json::json!([{ "apiGroups": ["dbx.dev"], "resources": ["dbxgateways"], "verbs": ["create"] }]));
    let container = &pod["spec"]["containers"][0];
    assert!(container["image"].as_str().unwrap().starts_with("mirror.example.com/"));
    let args = Args::try_parse_from(["dbx-operator"].into_iter().chain(strings(&container["args"]))).unwrap();
    let service = documents.iter().find(|document| document["kind"] == "Service").unwrap();
    let address = format!("{}.shop:{}", service["metadata"]["name"].as_str().unwrap(), service["spec"]["ports"][0]["port"]);
    assert_eq!(args.command, Some(dbx_operator::args::Command::Check { address }));
    assert!(!is_selected(pod, service), "the check is not an operator");

    let documents = rendered("dbx-gateway", "service: { port: 80 }");
    let pod = documents.iter().find(|document| document["kind"] == "Pod").unwrap();
    assert_eq!(strings(&pod["spec"]["containers"][0]["args"]), ["health", "--address", "cache.shop:80", "--path", "/openapi.json"]);
    let service = documents.iter().find(|document| document["kind"] == "Service").unwrap();
    assert!(!is_selected(pod, service), "the check is not a gateway");
    let secure = "config: { databases: [{ name: a, redis: { url: 'redis://a' } }], auth: { mode: none }, listen: { tls: { certificateFrom: { secretKeyRef: { name: a, key: c } }, keyFrom: { secretKeyRef: { name: a, key: k } } } } }";
    assert!(!rendered("dbx-gateway", secure).iter().any(|document| document["kind"] == "Pod"), "the check speaks plain HTTP");
}

fn is_selected(pod: &Value, service: &Value) -> bool {
    service["spec"]["selector"].as_object().unwrap().iter().all(|(key, value)| pod["metadata"]["labels"][key] == *value)
}

#[test]
fn the_pods_satisfy_the_restricted_standard() {
    check_restricted(&documents("manifests/operator.yaml"));
    check_restricted(&rendered("dbx-operator", "{}"));
}

fn check_restricted(documents: &[Value]) {
    let pods = documents.iter().filter_map(|document| match document["kind"].as_str() {
        Some("Deployment") => Some(&document["spec"]["template"]["spec"]),
        Some("Pod") => Some(&document["spec"]),
        _ => None,
    });
    let mut count = 0;
    for pod in pods {
        count += 1;
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        for container in pod["containers"].as_array().unwrap() {
            assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false);
            assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
            assert_eq!(strings(&container["securityContext"]["capabilities"]["drop"]), ["ALL"]);
        }
    }
    assert!(count > 0);
}
