//! Every setting that the reference lists exists as it says, and the page is what the type says.

use std::{fs, path::Path};

use dbx_gateway::config::{self, settings};
use serde_json::{Value, json};

use crate::{given, nothing};

/// A value for a setting by what the reference says it wants.
fn sample(path: &str, wants: &str) -> Value {
    match (path, wants) {
        ("audit.calls", _) => json!("denied"),
        ("audit.keys", _) => json!("plain"),
        ("auth.mode", _) => json!("none"),
        ("auth.grants.0.access", _) => json!(["read"]),
        ("auth.grants.0.databases", _) => json!(["redis"]),
        ("auth.grants.0.effect", _) => json!("deny"),
        ("auth.grants.0.to", _) => json!(["key:web"]),
        ("auth.jwt.0.jwksUrl", _) => json!("https://id.example/keys"),
        ("auth.jwt.0.kubernetes", _) => json!({}),
        ("databases.0.redis.users.0", _) => json!({ "name": "other", "passwordFrom": { "file": "p" } }),
        ("listen.data" | "listen.operations", _) => json!("127.0.0.1:4000"),
        ("listen.forwarded", _) => json!("x-forwarded-for"),
        ("listen.trustedProxies", _) => json!(["10.0.0.0/8", "::1"]),
        ("listen.tls.clientCertificates", _) => json!("optional"),
        ("cors.origins", _) => json!(["https://a.example"]),
        ("databases.0.redis.url", _) => json!("redis://other"),
        ("databases.0.redis", _) => json!({ "url": "redis://other" }),
        ("databases.0.redis.managed", _) => json!({}),
        (path, "settings") if path.ends_with("From") => json!({ "file": "some" }),
        (path, "settings") if path.ends_with("KeyRef") => json!({ "name": "some", "key": "thing" }),
        ("databases.0.redis.sentinel", _) => json!({ "username": "other" }),
        ("databases.0.limits", _) => json!({ "maxInFlight": 77 }),
        ("databases.0.redis.tls", _) => json!({ "serverName": "other" }),
        ("databases.0.redis.managed.maxmemoryPolicy", _) => json!("allkeys-lru"),
        ("databases.0.redis.managed.persistence", _) => json!("none"),
        ("databases.0.redis.managed.resources.limits" | "databases.0.redis.managed.resources.requests", _) => json!({ "cpu": "1" }),
        ("databases.0.redis.managed.resources", _) => json!({ "limits": { "cpu": "1" } }),
        ("rateLimits.0.databases", _) => json!(["redis"]),
        ("rateLimits.0.onFailure", _) => json!("closed"),
        ("rateLimits.0.per", _) => json!("address"),
        ("rateLimits.0.sharedIn", _) => json!("redis"),
        ("rateLimits.0.to", _) => json!(["key:web"]),
        ("log.format", _) => json!("human"),
        ("log.level", _) => json!("debug"),
        (_, "duration") => json!("7s"),
        (_, "size") => json!("9KiB"),
        (_, "`true` or `false`") => json!(true),
        (_, "list of text") => json!(["some", "thing"]),
        (_, "text") => json!("something"),
        (path, wants) if wants.contains(" to ") => json!(if path == "workers" { 3 } else { 77 }),
        _ => panic!("{path} wants {wants}: say here what a value of it looks like"),
    }
}

/// What of a managed Redis only the operator can do.
fn is_for_the_operator(path: &str) -> bool {
    path.starts_with("databases.0.redis.managed.")
}

/// Without the operator such a setting is refused rather than ignored, and the reference says so.
#[test]
fn what_is_for_the_operator_is_refused() {
    let settings: Vec<_> = settings().into_iter().filter(|setting| is_for_the_operator(&setting.path.dotted())).collect();
    assert!(settings.len() > 5);
    for setting in settings {
        let path = setting.path.dotted();
        let value = sample(&path, &setting.kind);
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let start = nothing().file(r#"{"databases":[{"name":"redis","redis":{"managed":{}}}]}"#);
        let told = start.flag("--set", &format!("{path}={text}")).load().unwrap_err();
        assert!(told.iter().any(|mistake| mistake.contains("for the operator on Kubernetes alone")), "{path}: {told:?}");
        let section = path["databases.0.redis.managed.".len()..].contains('.');
        assert!(section || setting.description.contains("Kubernetes only"), "{path}: {}", setting.description);
    }
}

/// Every setting that the reference lists can be given by file, environment and flag, and is what was given.
#[test]
fn every_setting_can_be_given_everywhere() {
    for setting in settings() {
        let path = setting.path.dotted();
        if is_for_the_operator(&path) {
            continue;
        }
        let value = sample(&path, &setting.kind);
        let text = match &value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let pointer = format!("/{}", path.replace('.', "/"));
        // What the setting needs beside it.
        let mut beside = json!({ "databases": [{ "name": "redis", "redis": { "url": "redis://host" } }] });
        if path.starts_with("listen.") {
            beside["listen"] = json!({ "trustedProxies": ["10.0.0.0/8"] });
        }
        if path.starts_with("listen.tls") {
            let (certificate, key, ca) = (json!({ "file": "c" }), json!({ "file": "k" }), json!({ "file": "a" }));
            beside["listen"]["tls"] = json!({ "certificateFrom": certificate, "keyFrom": key, "clientCaFrom": ca });
        }
        if path.contains("redis.tls") {
            beside["databases"][0]["redis"] = json!({ "url": "rediss://host" });
        }
        if path.contains("redis.sentinel") {
            beside["databases"][0]["redis"] = json!({ "url": "redis+sentinel://host/primary" });
        }
        if path.contains("redis.tls.certificateFrom") || path.contains("redis.tls.keyFrom") {
            beside["databases"][0]["redis"]["tls"] = json!({ "certificateFrom": { "file": "c" }, "keyFrom": { "file": "k" } });
        }
        if path.contains(".managed") {
            beside["databases"][0]["redis"] = json!({ "managed": {} });
        }
        if path.starts_with("auth.grants.") {
            beside["auth"] = json!({ "grants": [{ "to": ["key:a"], "access": ["all"] }] });
            beside["databases"][0]["redis"]["users"] = json!([{ "name": "something", "passwordFrom": { "file": "p" } }]);
        }
        if path.contains("redis.users.") {
            beside["databases"][0]["redis"]["users"] = json!([{ "name": "u", "passwordFrom": { "file": "p" } }]);
        }
        if path.starts_with("auth.jwt.") {
            beside["auth"]["jwt"] = match () {
                () if path.contains("kubernetes") => json!([{}]),
                () if path.contains("jwksFrom") => json!([{ "issuer": "i" }]),
                () => json!([{ "issuer": "i", "jwksUrl": "https://id.example" }]),
            };
        }
        if let Some(place) = path.strip_prefix("auth.keysFrom.0.") {
            let reference = place.split_once('.').map_or(json!({}), |(reference, _)| json!({ reference: { "name": "n", "key": "k" } }));
            beside["auth"] = json!({ "keysFrom": [reference] });
        } else if path.starts_with("rateLimits.") {
            beside["rateLimits"] = json!([{ "name": "calls", "per": "identity", "commands": 5, "sharedIn": "redis" }]);
        }
        // A secret is read from one place.
        if let Some((source, place)) = path.rsplit_once("From.").filter(|(source, _)| *source != "auth.keys") {
            let reference = place.split_once('.').map_or(json!({}), |(reference, _)| json!({ reference: { "name": "n", "key": "k" } }));
            self::place(&mut beside, &format!("{source}From"), reference);
        }
        let mut whole = beside.clone();
        place(&mut whole, &path, value.clone());
        let start = || nothing().file(&beside.to_string());
        assert_eq!(nothing().file(&whole.to_string()).value(&pointer), value, "{path} in a file");
        assert_eq!(start().env(&setting.environment, &text).value(&pointer), value, "{}", setting.environment);
        assert_eq!(start().dotenv(&format!("{}='{text}'", setting.environment)).value(&pointer), value, "{path} in .env");
        assert_eq!(start().flag("--set", &format!("{path}={text}")).value(&pointer), value, "--set {path}");
    }
    assert!(settings().len() > 30);
}

fn place(whole: &mut Value, path: &str, value: Value) {
    *path.split('.').fold(whole, |place, name| match name.parse::<usize>() {
        Ok(index) => &mut place[index],
        Err(_) => &mut place[name],
    }) = value;
}

#[test]
fn defaults_in_words_are_the_defaults_in_force() {
    let effective = serde_json::to_value(given().load().unwrap().effective()).unwrap();
    for setting in settings() {
        let Some(literal) = setting.default.strip_prefix('`').and_then(|text| text.split('`').next()) else { continue };
        let Some(value) = effective.pointer(&format!("/{}", setting.path.dotted().replace('.', "/"))) else { continue };
        let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        assert_eq!(shown, literal, "{}", setting.path);
    }
}

#[test]
fn the_reference_is_up_to_date() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/src/configuration.md");
    let stored = fs::read_to_string(&page).unwrap_or_default();
    assert!(stored == config::reference(), "docs/src/configuration.md is stale: run `make generate`");
}
