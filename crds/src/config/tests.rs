use super::*;

fn config(yaml: &str) -> GatewayConfig {
    serde_yaml::from_str(yaml).unwrap()
}

fn paths(yaml: &str) -> Vec<String> {
    config(yaml).validate().into_iter().map(|invalid| invalid.path).collect()
}

#[test]
fn a_minimal_configuration_is_valid_and_has_defaults() {
    let minimal = config("databases: [{ name: redis, redis: { url: 'redis://cache' } }]");
    assert_eq!(minimal.validate(), []);
    assert_eq!(minimal.data_address(), "127.0.0.1:3000");
    assert_eq!(minimal.limits.max_key_bytes().bytes(), 64 << 10);
    assert_eq!(minimal.drain.propagation().value().as_secs(), 5);
    let effective = serde_yaml::to_string(&minimal.effective()).unwrap();
    assert!(effective.contains("callTimeout: 5s"), "{effective}");
    let again: GatewayConfig = serde_yaml::from_str(&effective).unwrap();
    assert_eq!(again.effective(), minimal.effective());
}

#[test]
fn what_is_not_said_is_not_written() {
    let minimal = config("databases: [{ name: redis, redis: { managed: {} } }]\nauth: { mode: none }");
    assert_eq!(serde_yaml::to_string(&minimal).unwrap(), "databases:\n- name: redis\n  redis:\n    managed: {}\nauth:\n  mode: none\n");
}

#[test]
fn mistakes_are_told_with_their_paths() {
    assert_eq!(paths("{}"), ["databases"]);
    assert_eq!(paths("databases: [{ name: Redis, redis: { url: 'redis://a' } }]"), ["databases[0].name"]);
    assert_eq!(paths("databases: [{ name: a }]"), ["databases[0]"]);
    assert_eq!(paths("databases: [{ name: a, redis: {} }]"), ["databases[0].redis"]);
    assert_eq!(paths("databases: [{ name: a, redis: { url: 'http://a' } }]"), ["databases[0].redis.url"]);
    assert_eq!(
        paths("databases: [{ name: a, redis: { managed: {} } }, { name: a, redis: { managed: {}, username: u } }]"),
        ["databases[1].name", "databases[1].redis.username"]
    );
    let with = |rest: &str| paths(&format!("databases: [{{ name: a, redis: {{ managed: {{}} }} }}]\n{rest}"));
    assert_eq!(with("auth: { mode: required }"), [""; 0]);
    assert_eq!(
        with("auth: { keysFrom: [{}], jwt: [{ issuer: a }], grants: [{ to: [web], access: [read], databases: [b] }] }"),
        ["auth.keysFrom[0]", "auth.jwt[0]", "auth.grants[0].to[0]", "auth.grants[0].databases[0]"]
    );
    let issuer = |rest: &str| with(&format!("auth: {{ jwt: [{{ issuer: a, jwksUrl: '{rest}' }}] }}"));
    assert_eq!(issuer("http://id.example.com/keys"), ["auth.jwt[0].jwksUrl"]);
    assert_eq!(issuer("https://u:p@id.example.com/keys"), ["auth.jwt[0].jwksUrl"]);
    assert_eq!(issuer("http://127.0.0.1:8080/keys"), [""; 0]);
    assert_eq!(with("auth: { jwt: [{ kubernetes: {}, issuer: a }] }"), ["auth.jwt[0].issuer"]);
    assert_eq!(with("auth: { grants: [{ to: ['*'], access: [read], backendUser: x }] }"), ["auth.grants[0].backendUser"]);
    assert_eq!(
        with("rateLimits: [{ name: a, per: identity }, { name: a, per: address, bytes: 1MiB, burst: 3 }]"),
        ["rateLimits[0]", "rateLimits[1].name", "rateLimits[1].burst"]
    );
    assert_eq!(with("listen: { data: '0.0.0.0:3000' }"), ["listen.data"]);
    assert_eq!(with("listen: { data: '0.0.0.0:3000' }\nauth: { mode: none }"), [""; 0]);
    assert_eq!(with("listen: { data: here }"), ["listen.data", "listen.operations"]);
    assert_eq!(with("limits: { maxInFlight: 0, maxHeaderBytes: 1KiB }"), ["limits.maxInFlight", "limits.maxHeaderBytes"]);
    assert_eq!(
        paths(
            "databases: [{ name: a, redis: { managed: {} }, limits: { maxInFlight: 0, callTimeout: 0s } }]\nlimits: { maxOwnConnections: 0 }"
        ),
        ["limits.maxOwnConnections", "databases[0].limits.maxInFlight", "databases[0].limits.callTimeout"]
    );
    assert_eq!(with("limits: { callTimeout: 61s }"), ["limits.callTimeout"]);
    assert_eq!(with("limits: { maxCallTimeout: 4s }"), ["limits.callTimeout"]);
    let database = "databases: [{ name: a, redis: { managed: {} }, limits: { callTimeout: 70s } }]";
    assert_eq!(paths(database), ["databases[0].limits.callTimeout"]);
    assert_eq!(paths(&format!("{database}\nlimits: {{ maxCallTimeout: 2m }}")), [""; 0]);
    assert_eq!(with("limits: { callTimeout: 2m, maxCallTimeout: 2m }"), [""; 0]);
    assert_eq!(with("limits: { maxResultItems: -1 }"), ["limits.maxResultItems"]);
    assert_eq!(with("cors: { origins: ['https://a.example/x'] }"), ["cors.origins[0]"]);
    assert_eq!(with("hosts: ['http://a']"), ["hosts[0]"]);
}

#[test]
fn a_managed_redis_is_as_the_operator_can_make_it() {
    let with = |managed: &str| config(&format!("databases: [{{ name: a, redis: {{ managed: {managed} }} }}]"));
    let paths = |managed: &str| with(managed).validate().into_iter().map(|invalid| invalid.path).collect::<Vec<_>>();
    let place = |field: &str| [format!("databases[0].redis.managed.{field}")];
    assert_eq!(paths("{ persistence: rdb, storage: 2Gi, version: '7.2', resources: { limits: { memory: 256Mi } } }"), [""; 0]);
    assert_eq!(paths("{ persistence: none, storage: 2Gi }"), place("storage"));
    assert_eq!(paths("{ persistence: none, deleteStorage: true }"), place("deleteStorage"));
    assert_eq!(paths("{ maxmemoryPolicy: allkeys-lru, resources: { requests: { memory: 1Gi } } }"), place("maxmemoryPolicy"));
    for memory in ["16383Ki", "16", "0Gi", "1Pi", "99999999Ti"] {
        assert_eq!(
            paths(&format!("{{ resources: {{ limits: {{ memory: '{memory}' }} }} }}")),
            place("resources.limits.memory"),
            "{memory}"
        );
    }
    let data = |memory: &str| {
        let config = with(&format!("{{ resources: {{ limits: {{ memory: '{memory}' }} }} }}"));
        config.databases[0].redis.clone().unwrap().managed.unwrap().maxmemory()
    };
    assert_eq!((data("100Mi"), data("100000000"), data("2T")), (Some(78_643_200), Some(75_000_000), Some(1_500_000_000_000)));
    assert_eq!(with("{}").validate_in_gateway(), []);
    for (field, value) in [
        ("storage", "2Gi"),
        ("deleteStorage", "false"),
        ("version", "'7.2'"),
        ("resources", "{}"),
        ("maxmemoryPolicy", "noeviction"),
        ("persistence", "none"),
    ] {
        let mistakes = with(&format!("{{ {field}: {value} }}")).validate_in_gateway();
        let told = mistakes.iter().find(|invalid| invalid.message.contains("for the operator on Kubernetes alone")).unwrap();
        assert_eq!(told.path, place(field)[0]);
    }
}

#[test]
fn a_pod_cannot_use_what_only_a_machine_has() {
    let paths = |yaml: &str| config(yaml).validate_on_kubernetes().into_iter().map(|invalid| invalid.path).collect::<Vec<_>>();
    assert_eq!(
        paths(
            "databases: [{ name: a, redis: { url: 'redis://u:p@a', } }, { name: b, redis: { url: 'redis://b', passwordFrom: { env: P } } }]"
        ),
        ["auth.mode", "databases[1].redis.passwordFrom", "databases[0].redis.url"]
    );
    let tls = "listen: { tls: { certificateFrom: { file: a }, keyFrom: { secretKeyRef: { name: a, key: b } } } }";
    assert_eq!(
        paths(&format!("databases: [{{ name: a, redis: {{ managed: {{}} }} }}]\nauth: {{ mode: none }}\n{tls}")),
        ["listen.tls.certificateFrom"]
    );
}

#[test]
fn unknown_settings_are_refused() {
    assert!(serde_yaml::from_str::<GatewayConfig>("limits: { maxBody: 1MiB }").unwrap_err().to_string().contains("maxBody"));
}

#[test]
fn urls_are_taken_apart() {
    let url = RedisUrl::parse("redis://us%40er:p%3Aw@[::1]:7000/3").unwrap();
    assert_eq!(url.address, RedisAddress::Tcp(Host { name: "::1".into(), port: 7000 }));
    assert_eq!((url.username.as_deref(), url.password.as_deref(), url.database), (Some("us@er"), Some("p:w"), 3));
    assert_eq!(RedisUrl::parse("redis+unix:///run/a.sock?db=2").unwrap().address, RedisAddress::Unix("/run/a.sock".into()));
    assert_eq!(RedisUrl::redact("redis://u:secret@h/1"), "redis://u:***@h/1");
    assert!(RedisUrl::parse("redis://h/x").unwrap_err().contains("index"));
    assert!(RedisUrl::parse("rediss://h").unwrap().tls && !url.tls);
    let url = RedisUrl::parse("rediss+sentinel://:p%40@a,[::1]:7/the%20primary/2").unwrap();
    let sentinels = vec![Host { name: "a".into(), port: 26379 }, Host { name: "::1".into(), port: 7 }];
    assert_eq!(url.address, RedisAddress::Sentinel(sentinels, "the primary".into()));
    assert_eq!((url.tls, url.password.as_deref(), url.database), (true, Some("p@"), 2));
    assert_eq!(RedisUrl::redact("redis+sentinel://u:secret@h,i:1/m"), "redis+sentinel://u:***@h,i:1/m");
    assert!(matches!(RedisUrl::parse("redis+cluster://a,b:1/0").unwrap().address, RedisAddress::Cluster(nodes) if nodes.len() == 2));
    assert!(RedisUrl::parse("redis+cluster://a/1").is_err());
    for wrong in [
        "redis+sentinel://a",
        "redis+sentinel://a,/m",
        "redis+sentinel://a/m/x",
        "redis://",
        "redis://h,i",
        "redis://h?a=b",
        "redis://h#a",
        "redis://h:p/",
        "h",
        "redis:h",
    ] {
        assert!(RedisUrl::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn what_is_in_front_is_said_as_a_whole() {
    let with = |rest: &str| paths(&format!("databases: [{{ name: a, redis: {{ managed: {{}} }} }}]\nlisten: {{ {rest} }}"));
    assert_eq!(with("trustedProxies: ['10.0.0.0/8', '::1', '192.0.2.7'], forwarded: x-forwarded-for, proxyProtocol: true"), [""; 0]);
    assert_eq!(with("trustedProxies: ['10.0.0.0/33', here]"), ["listen.trustedProxies[0]", "listen.trustedProxies[1]"]);
    assert_eq!(with("forwarded: forwarded, proxyProtocol: true"), ["listen.forwarded", "listen.proxyProtocol"]);
    assert_eq!(with("forwarded: none, proxyProtocol: false"), [""; 0]);
    let pair = "certificateFrom: { file: a }, keyFrom: { file: b }";
    assert_eq!(with(&format!("tls: {{ {pair}, clientCaFrom: {{ file: c }}, clientCertificates: optional }}")), [""; 0]);
    assert_eq!(with(&format!("tls: {{ {pair}, clientCertificates: required }}")), ["listen.tls.clientCertificates"]);
    assert_eq!(with("tls: { certificateFrom: {}, keyFrom: { file: b, env: c } }"), ["listen.tls.certificateFrom", "listen.tls.keyFrom"]);
    let limits = |rest: &str| paths(&format!("databases: [{{ name: a, redis: {{ managed: {{}} }} }}]\nlimits: {{ {rest} }}"));
    assert_eq!(limits("maxUrlBytes: 8193, maxHeaderBytes: 8KiB"), ["limits.maxUrlBytes"]);
    assert_eq!(limits("maxConnectionsPerAddress: -1, writeTimeout: 0s"), ["limits.maxConnectionsPerAddress", "limits.writeTimeout"]);
}

#[test]
fn tls_is_asked_for_by_the_url() {
    let with = |url: &str, tls: &str| paths(&format!("databases: [{{ name: a, redis: {{ url: '{url}', tls: {{ {tls} }} }} }}]"));
    assert_eq!(with("rediss://a", "caFrom: { file: a }, serverName: b"), [""; 0]);
    assert_eq!(with("redis://a", "caFrom: { file: a }"), ["databases[0].redis.tls"]);
    assert_eq!(with("rediss://a", "certificateFrom: { file: a }"), ["databases[0].redis.tls"]);
    assert_eq!(with("rediss://a", "caFrom: {}"), ["databases[0].redis.tls.caFrom"]);
    let managed = "databases: [{ name: a, redis: { managed: {}, tls: {}, sentinel: {} } }]";
    assert_eq!(paths(managed), ["databases[0].redis.tls", "databases[0].redis.sentinel"]);
    assert_eq!(paths("databases: [{ name: a, redis: { url: 'redis://a', sentinel: {} } }]"), ["databases[0].redis.sentinel"]);
}
