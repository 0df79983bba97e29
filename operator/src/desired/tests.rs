use dbx_crds::gateway::DbxGatewaySpec;

use super::*;
use crate::render::render;

fn gateway(spec: &str) -> DbxGateway {
    let spec: DbxGatewaySpec = serde_yaml::from_str(spec).unwrap();
    let mut gateway = DbxGateway::new("cache", spec);
    gateway.metadata.namespace = Some("shop".into());
    gateway.metadata.uid = Some("11111111-1111-1111-1111-111111111111".into());
    gateway
}

fn settings() -> Settings {
    Settings {
        gateway_image: "ghcr.io/dbx-dev/dbx-gateway:0.1.0".into(),
        redis_image: "docker.io/library/redis:7.0".into(),
        pull_policy: PullPolicy::IfNotPresent,
        pull_secrets: Vec::new(),
        namespace: "dbx-system".into(),
    }
}

fn objects(spec: &str, settings: &Settings) -> Vec<Object> {
    with_keys(spec, settings, None)
}

fn with_keys(spec: &str, settings: &Settings, keys: Option<&str>) -> Vec<Object> {
    let gateway = gateway(spec);
    let rendered = render("cache", &gateway.spec.config);
    let auth = BTreeMap::from([("redis".to_owned(), "22222222-2222-2222-2222-222222222222".to_owned())]);
    desired(Input {
        gateway: &gateway,
        rendered: &rendered,
        settings,
        auth: &auth,
        keys,
        apis: &Apis { kinds: BTreeSet::new(), custom_metrics: true },
    })
}

/// All objects as one file, as `kubectl` would take it.
fn yaml(objects: &[Object]) -> String {
    objects.iter().map(|object| format!("---\n{}", serde_yaml::to_string(&object.body).unwrap())).collect()
}

#[test]
fn quickstart() {
    let spec = "{ config: { databases: [{ name: redis, redis: { managed: {} } }], auth: { mode: none } }, replicas: 2 }";
    insta::assert_snapshot!(yaml(&objects(spec, &settings())));
}

#[test]
fn everything_said() {
    let spec = r#"
config:
  databases:
    - name: one
      redis: { url: "redis://one", passwordFrom: { secretKeyRef: { name: shared, key: one } } }
    - name: two
      redis:
        url: "rediss://two"
        passwordFrom: { secretKeyRef: { name: shared, key: two } }
        tls: { caFrom: { configMapKeyRef: { name: authority, key: ca.crt } }, certificateFrom: { secretKeyRef: { name: client, key: tls.crt } }, keyFrom: { secretKeyRef: { name: client, key: tls.key } } }
    - name: three
      redis: { url: "redis://three", passwordFrom: { configMapKeyRef: { name: shared, key: three } } }
    - name: redis
      redis: { managed: { storage: 5Gi, deleteStorage: true } }
  auth: { mode: none }
  drain: { propagation: 1500ms, timeout: 10s }
image: { repository: mirror/gateway, digest: "sha256:00", pullPolicy: Always, pullSecrets: [{ name: mine }] }
resources: { requests: { cpu: "1" }, limits: { memory: 64Mi } }
nodeSelector: { disk: ssd }
tolerations: [{ key: spot, operator: Exists }]
affinity: { nodeAffinity: { anything: [goes] } }
priorityClassName: high
podAnnotations: { team: shop }
podLabels: { team: shop }
service: { type: NodePort, annotations: { a: b }, port: 80, nodePort: 30080 }
"#;
    let settings = Settings { pull_secrets: vec!["all".into(), "mine".into()], ..settings() };
    insta::assert_snapshot!(yaml(&objects(spec, &settings)));
}

#[test]
fn everything_around_the_pods() {
    let spec = r#"
config: { databases: [{ name: redis, redis: { managed: {} } }], auth: { mode: none } }
autoscaling: { minReplicas: 2, maxReplicas: 20, cpuUtilization: 70, callsInFlight: 200 }
serviceAccount: { annotations: { eks.amazonaws.com/role-arn: "arn:x" } }
extraEnv: [{ name: AWS_REGION, value: eu }, { name: NODE, valueFrom: { fieldRef: { fieldPath: spec.nodeName } } }]
extraVolumes: [{ name: scratch, emptyDir: { sizeLimit: 1Mi } }]
extraVolumeMounts: [{ name: scratch, mountPath: /scratch }]
expose:
  ingress: { className: nginx, hosts: [api.example.com, "*.example.com"], tlsSecretName: edge, annotations: { a: b } }
  httpRoute: { parentRefs: [{ name: web, namespace: edge, sectionName: https, port: 443 }], hostnames: [route.example.com] }
certificate: { secretName: cache-tls, issuerRef: { name: letsencrypt, kind: ClusterIssuer }, dnsNames: [api.example.com, other.example.com] }
disruptionBudget: { maxUnavailable: 2 }
networkPolicy:
  from: [{ podSelector: { matchLabels: { app: web } } }]
  metricsFrom: [{ namespaceSelector: { matchLabels: { team: watch } } }]
  egress: [{ ipBlock: { cidr: 10.0.0.0/8 } }]
monitoring: { serviceMonitor: { labels: { release: prometheus }, interval: 30s } }
"#;
    insta::assert_snapshot!(yaml(&objects(spec, &settings())));
}

#[test]
fn a_redis_as_it_is_asked_for() {
    let of = |managed: &str| {
        let objects = objects(&format!("{{ config: {{ databases: [{{ name: redis, redis: {{ managed: {managed} }} }}] }} }}"), &settings());
        let body = |kind: Kind, name: &str| {
            objects.iter().find(|object| object.kind == kind && object.name == name).map(|object| object.body.clone())
        };
        let file = body(Kind::ConfigMap, "cache-redis").unwrap()["data"]["redis.conf"].as_str().unwrap().to_owned();
        let template = body(Kind::StatefulSet, "cache-redis").unwrap()["spec"]["template"].clone();
        (file, template, body(Kind::PersistentVolumeClaim, "cache-redis-data"))
    };
    let container = |template: &Value| template["spec"]["containers"][0].clone();
    let (plain, template, claim) = of("{}");
    assert_eq!(of("{ persistence: aof }"), (plain.clone(), template.clone(), claim.clone()), "the default said aloud restarts nothing");
    assert!(claim.is_some() && !plain.contains("maxmemory"), "{plain}");

    let (file, cache, claim) = of(
        "{ persistence: none, version: '7.2', maxmemoryPolicy: allkeys-lru, resources: { requests: { cpu: 100m }, limits: { memory: 256Mi } } }",
    );
    assert_eq!(claim, None, "what keeps nothing needs no volume");
    assert_eq!(
        file,
        "bind * -::*\nport 6379\nprotected-mode no\ndir /data\nappendonly no\nsave \"\"\naclfile /etc/redis-auth/users.acl\nmaxmemory 201326550\nmaxmemory-policy allkeys-lru\n"
    );
    assert_eq!(container(&cache)["image"], "docker.io/library/redis:7.2");
    assert_eq!(container(&cache)["resources"], json!({ "requests": { "cpu": "100m" }, "limits": { "memory": "256Mi" } }));
    assert_eq!(cache["spec"]["volumes"][2], json!({ "name": "data", "emptyDir": {} }));
    let hash = |template: &Value| template["metadata"]["annotations"][names::CONFIG_HASH].clone();
    assert_ne!(hash(&cache), hash(&template), "another file restarts the server");

    let (file, kept, claim) = of("{ persistence: rdb, resources: { limits: { cpu: '1' } } }");
    assert!(claim.is_some() && file.contains("appendonly no\n") && !file.contains("save") && !file.contains("maxmemory"), "{file}");
    assert_eq!(kept["spec"]["volumes"][2]["persistentVolumeClaim"]["claimName"], "cache-redis-data");
    assert_eq!(container(&kept)["resources"], json!({ "limits": { "cpu": "1" } }));
    let (file, ..) = of("{ resources: { limits: { memory: 1G } } }");
    assert!(file.ends_with("maxmemory 750000000\nmaxmemory-policy noeviction\n"), "nothing is lost silently: {file}");
}

#[test]
fn what_is_not_said_is_not_there() {
    let spec = "{ config: {}, autoscaling: { maxReplicas: 3 }, serviceAccount: { name: mine }, networkPolicy: {}, monitoring: { serviceMonitor: {} }, expose: { ingress: { hosts: [a] } } }";
    let mut objects = objects(spec, &settings());
    objects.retain(|object| !matches!(object.kind, Kind::ConfigMap | Kind::Service));
    let deployment = objects.iter_mut().find(|object| object.kind == Kind::Deployment).unwrap();
    assert!(deployment.body["spec"].get("replicas").is_none(), "the autoscaler has them");
    assert_eq!(deployment.body["spec"]["template"]["spec"]["serviceAccountName"], "mine");
    objects.retain(|object| object.kind != Kind::Deployment);
    insta::assert_snapshot!(yaml(&objects));
}

#[test]
fn who_believes_tokens_of_the_cluster_can_ask_it_for_its_keys() {
    let mounts = |jwt: &str| {
        let spec =
            format!("{{ config: {{ databases: [{{ name: a, redis: {{ url: 'redis://a' }} }}], auth: {{ mode: none, jwt: {jwt} }} }} }}");
        let objects = objects(&spec, &settings());
        let pod = objects.iter().find(|object| object.kind == Kind::Deployment).unwrap().body["spec"]["template"]["spec"].clone();
        assert_eq!(pod["automountServiceAccountToken"], false);
        let sources = pod["volumes"].as_array().unwrap().iter().find(|volume| volume["name"] == "secret-api");
        sources.map(|volume| volume["projected"]["sources"].to_string())
    };
    assert_eq!(mounts("[]"), None);
    let sources = mounts("[{ kubernetes: {} }]").unwrap();
    assert!(sources.contains("serviceAccountToken") && sources.contains("kube-root-ca.crt"), "{sources}");
}

#[test]
fn keys_change_a_file_of_their_own_and_no_pod() {
    let spec = "{ config: { databases: [{ name: a, redis: { url: 'redis://a' } }], auth: { mode: required } } }";
    let of = |keys: &str, kind: Kind, name: &str| {
        let mut objects = with_keys(spec, &settings(), Some(keys)).into_iter();
        objects.find(|object| object.kind == kind && object.name == name).unwrap().body
    };
    assert_eq!(of("keys: []\n", Kind::ConfigMap, "cache-keys")["data"], json!({ "keys.yaml": "keys: []\n" }));
    let deployment = of("keys: []\n", Kind::Deployment, "cache");
    assert_eq!(of("others", Kind::Deployment, "cache"), deployment);
    let pod = &deployment["spec"]["template"]["spec"];
    let mount = &pod["containers"][0]["volumeMounts"][1];
    assert_eq!(format!("{}/keys.yaml", mount["mountPath"].as_str().unwrap()), crate::probe::keys_path("cache"));
    assert_eq!(pod["volumes"][1]["name"], mount["name"]);
    let source = json!({ "configMap": { "name": "cache-keys", "items": [{ "key": "keys.yaml", "path": "keys.yaml" }] } });
    assert_eq!(pod["volumes"][1]["projected"]["sources"], json!([source]));
}

#[test]
fn a_single_pod_has_no_budget() {
    let objects = objects("{ config: { databases: [{ name: a, redis: { url: 'redis://a' } }] } }", &settings());
    let kinds: Vec<&str> = objects.iter().map(|object| object.kind.name()).collect();
    assert_eq!(kinds, ["ServiceAccount", "ConfigMap", "Service", "Deployment"]);
}

#[test]
fn what_does_not_concern_the_file_does_not_change_its_hash() {
    let name = |rest: &str| {
        let objects = objects(&format!("{{ config: {{ databases: [{{ name: a, redis: {{ url: 'redis://a' }} }}] }}{rest} }}"), &settings());
        objects.into_iter().find(|object| object.kind == Kind::ConfigMap).unwrap().name
    };
    assert_eq!(name(""), name(", replicas: 7, podLabels: { a: b }"));
}

#[test]
fn images_are_put_together() {
    let image = |image: &str, default: &str| image_of(&format!("{{ config: {{}}, image: {image} }}"), default);
    let default = "ghcr.io/dbx-dev/dbx-gateway:0.1.0";
    assert_eq!(image("{}", default), ("ghcr.io/dbx-dev/dbx-gateway:0.1.0".into(), "0.1.0".into()));
    assert_eq!(image("{ tag: '2' }", default).0, "ghcr.io/dbx-dev/dbx-gateway:2");
    assert_eq!(image("{ repository: 'localhost:5000/dbx' }", default).0, "localhost:5000/dbx:0.1.0");
    assert_eq!(image("{ digest: 'sha256:0' }", default).0, "ghcr.io/dbx-dev/dbx-gateway@sha256:0");
    assert_eq!(image("{}", "localhost:5000/dbx"), ("localhost:5000/dbx:latest".into(), "latest".into()));
    assert_eq!(image("{ repository: a }", "b@sha256:1"), ("a@sha256:1".into(), "sha256:1".into()));
}

fn image_of(spec: &str, default: &str) -> (String, String) {
    image(&gateway(spec), default)
}

#[test]
fn the_password_is_in_the_acl_as_a_hash_only() {
    assert_eq!(
        acl("secret"),
        "user default off\nuser dbx on #2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b ~* &* +@all -@admin\n"
    );
}
