//! What is said of mistakes, and what never is.

use dbx_gateway::config::redact;

use crate::{given, nothing};

/// Each mistake with its path, its source and what was expected.
#[test]
fn mistakes_say_where_and_what() {
    for (given, expected) in [
        (
            given().env("DBX_LIMITS__MAX_INFLIGHT", "9"),
            "limits.maxInflight: unknown setting, did you mean `DBX_LIMITS__MAX_IN_FLIGHT`? (environment DBX_LIMITS__MAX_INFLIGHT)",
        ),
        (
            given().dotenv("\nDBX_MAX_IN_FLIGHT=9"),
            "maxInFlight: unknown setting, did you mean `DBX_LIMITS__MAX_IN_FLIGHT`? (.env DBX_MAX_IN_FLIGHT)",
        ),
        (
            given().env("DBX_REDIS_URL", "redis://h"),
            "redisUrl: unknown setting, did you mean `DBX_DATABASES__0__REDIS__URL`? (environment DBX_REDIS_URL)",
        ),
        (
            given().file("workers: 1\nlimits:\n  maxInFlight: 9\n  maxPipelineCall: 1\n"),
            "limits.maxPipelineCall: unknown setting, did you mean `limits.maxPipelineCalls`? (file gateway.yaml line 4)",
        ),
        (
            given().file("limits: { frobnicate: 1 }\nauth: { frobnicate: 1 }\n"),
            "auth.frobnicate: unknown setting, expected one of grants, jwt, keysFrom, mode, tokenInQuery (file gateway.yaml line 2)",
        ),
        (
            given().flag("--set", "limits.max=9"),
            "limits.max: unknown setting, expected one of bodyTimeout, callTimeout, handshakeTimeout, headerTimeout, idempotencyWindow, keepAliveTimeout, \
             maxBodyBytes, maxCallTimeout, maxConnections, maxConnectionsPerAddress, maxHeaderBytes, maxInFlight, maxInFlightPerIdentity, maxKeyBytes, \
             maxOwnConnections, maxPipelineCalls, maxResultBytes, maxResultItems, maxSocketsPerIdentity, maxUrlBytes, maxValueBytes, scriptCacheBytes, writeTimeout (flag --set limits.max)",
        ),
        (
            given().flag("--set", "workers.count=9"),
            "workers.count: unknown setting: `workers` is a whole number from 1 to 256 (flag --set workers.count)",
        ),
        (
            given().env("DBX_DATABASES__REDIS__URL", "redis://h"),
            "databases.redis.url: unknown setting: `databases` is a list, whose items are numbered from 0 \
             (environment DBX_DATABASES__REDIS__URL)",
        ),
        (
            given().env("DBX_LIMITS__MAX_IN_FLIGHT", "lots"),
            "limits.maxInFlight: expected a whole number from 1 to 1000000, found \"lots\" (environment DBX_LIMITS__MAX_IN_FLIGHT)",
        ),
        (
            given().file("limits: { maxInFlight: 3000000000 }"),
            "limits.maxInFlight: expected a whole number from 1 to 1000000, found 3000000000 (file gateway.yaml line 1)",
        ),
        (
            given().flag("--set", "limits.callTimeout=5"),
            "limits.callTimeout: expected a duration such as 250ms, 5s or 1m30s, found \"5\" (flag --set limits.callTimeout)",
        ),
        (
            given().file("\nlimits:\n  callTimeout: 5\n"),
            "limits.callTimeout: expected a duration such as 250ms, 5s or 1m30s, found 5 (file gateway.yaml line 3)",
        ),
        (given().env("DBX_AUTH__MODE", "open"), "auth.mode: expected one of none, required, found \"open\" (environment DBX_AUTH__MODE)"),
        (given().env("DBX_LOG__ACCESS", "yes"), "log.access: expected true or false, found \"yes\" (environment DBX_LOG__ACCESS)"),
        (
            given().env("DBX_LIMITS", "5"),
            "limits: expected settings by name (`{}` takes every default), found a number (environment DBX_LIMITS)",
        ),
        (given().file("hosts:\n- a\n- 5\n"), "hosts[1]: expected text, found no text; put it in quotes (file gateway.yaml line 3)"),
        (given().file("hosts:\n- a\n-\n"), "hosts[1]: expected text, found nothing (file gateway.yaml line 3)"),
        (given().env("DBX_HOSTS__1", "a"), "hosts[1]: leaves a gap: the next item of the list is 0 (environment DBX_HOSTS__1)"),
        (
            nothing().file("databases:\n  - redis:\n      url: redis://h\n"),
            "databases[0].name: is missing, expected text (file gateway.yaml line 2)",
        ),
        (
            given().flag("--set", "listen.data=0.0.0.0:3000"),
            "listen.data: 0.0.0.0:3000 is reachable from elsewhere and calls need no credential; say `auth.mode: none` if that is \
             meant, or listen on 127.0.0.1 (flag --set listen.data)",
        ),
        (given().file("[1]"), "expected settings by name (`{}` takes every default), found a list (file gateway.yaml)"),
        (given().flag("--config", "absent.yaml"), "cannot read absent.yaml: No such file or directory (os error 2) (flag --config)"),
        (given().env("DBX_CONFIG", "gone.yaml"), "cannot read gone.yaml: No such file or directory (os error 2) (environment DBX_CONFIG)"),
        (given().flag("--set", "workers"), "expected PATH=VALUE such as limits.maxInFlight=9 (flag --set)"),
        (
            nothing().file("databases: [{ name: a, redis: { managed: {} } }, { name: b, redis: {} }]"),
            "databases[1].redis: expected `url` of a Redis that exists, or `managed: {}` for one that DBX runs (file gateway.yaml line 1)",
        ),
    ] {
        let mistakes = given.mistakes();
        assert!(mistakes.contains(&expected.to_owned()), "expected {expected}\nfound {mistakes:#?}");
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let mistakes = given()
        .file("limits: { maxInFlight: none, maxBody: 1 }\nlog: { level: loud }")
        .dotenv("DBX_WORKERS=many")
        .env("DBX_DRAIN__TIMEOUT", "soon")
        .flag("--set", "workers=0")
        .mistakes();
    assert_eq!(mistakes.len(), 6, "{mistakes:#?}");
    assert_eq!(given().file("limits: { callTimeout: 0s }\nhosts: ['a:1']\nlisten: { data: x }").mistakes().len(), 4);
}

#[test]
fn a_file_that_is_not_yaml_is_refused_with_its_line() {
    let broken = &given().file("limits:\n  maxInFlight: [1\nworkers: 2\n").mistakes()[0];
    assert!(broken.contains("is not YAML") && broken.contains("file gateway.yaml line"), "{broken}");
    let twice = &given().file("workers: 1\nworkers: 2\n").mistakes()[0];
    assert!(twice.contains("workers"), "{twice}");
}

/// A password put wherever it does not belong shows in no message.
#[test]
fn passwords_are_never_printed() {
    let url = "redis://user:hunter2/x@host:6379";
    for given in [
        nothing().file("databases: [{ name: a, redis: { url: 'redis://u:hunter2@h' } }]"),
        nothing().file("databases: [{ name: a, redis: 'redis://u:hunter2@h' }]"),
        nothing().file("databases: 'redis://u:hunter2@h'"),
        nothing().file("databases: [{ name: a, redis: { url: ['redis://u:hunter2@h'] } }]"),
        nothing().file("databases: [{ 'redis://u:hunter2@h' }]"),
        nothing().file("'redis://u:hunter2@h'"),
        nothing().file("databases: [{ name: a, redis: { url: 'redis://u:hunter2@h }]"),
        nothing().file("databases: [{ name: a, redis: { password: hunter2 } }]"),
        nothing().file("databases: [{ name: a, redis: { managed: hunter2 } }]"),
        nothing().file("databases: [{ name: a, redis: { passwordFrom: hunter2 } }]"),
        nothing().env("REDIS_URL", url),
        nothing().env("REDIS_URL", "hunter2"),
        nothing().env("REDIS_URL", "http://u:hunter2@h"),
        nothing().env("REDIS_URL", "redis://u:12/hunter2@h"),
        nothing().env("REDIS_URL", "redis://u:12#hunter2@h"),
        nothing().env("REDIS_URL", "redis://u:12?hunter2@h"),
        nothing().env("DBX_DATABASES__0__REDIS", url),
        nothing().env("DBX_DATABASES__0", url),
        nothing().env("DBX_DATABASES__0__REDIS__PASSWORD", "hunter2"),
        nothing().flag("--database", url),
        nothing().flag("--database", "redis://u:hunter2@h?x=1"),
        nothing().flag("--database", &format!("a={url}")),
        nothing().flag("--set", url),
        nothing().dotenv("DBX_WORKERS=1\nDBX_X='hunter2\n"),
    ] {
        let mistakes = given.mistakes().join("\n");
        assert!(!mistakes.contains("hunter2"), "{mistakes}");
    }
    let stored = nothing().file("databases:\n- name: a\n  redis:\n    url: redis://u:hunter2@h\n").mistakes();
    assert_eq!(
        stored,
        [
            "databases[0].redis.url: holds a password, which has no place in a file; refer to it with `passwordFrom` (file gateway.yaml line 4)"
        ]
    );
    assert_eq!(redact("a 'redis://u:p@w@h:1/0' and http://x/y"), "a 'redis://***@h:1/0' and http://x/y");
    let key = dbx_crds::api_key::token::mint([7; 32], [0xab; 8]);
    assert_eq!(redact(&format!("http://u:p@h, {:?}", key.text())), "http://***@h, \"dbx_abababababababab_***\"");
}
