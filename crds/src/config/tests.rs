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
fn a_pod_cannot_use_what_only_a_machine_has() {
    let paths = |yaml: &str| config(yaml).validate_on_kubernetes().into_iter().map(|invalid| invalid.path).collect::<Vec<_>>();
    assert_eq!(
        paths(
            "databases: [{ name: a, redis: { url: 'redis://u:p@a', } }, { name: b, redis: { url: 'redis://b', passwordFrom: { env: P } } }]"
        ),
        ["auth.mode", "databases[1].redis.passwordFrom", "databases[0].redis.url"]
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
