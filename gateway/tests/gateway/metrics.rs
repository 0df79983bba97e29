//! What the gateway counts and logs, and what never gets there.

use std::collections::BTreeMap;

use crate::support::{App, MARKER, SOON, until};

/// Samples by name and labels, after a look at whether the text is Prometheus's.
fn parse(text: &str) -> BTreeMap<String, f64> {
    let (mut samples, mut kinds) = (BTreeMap::new(), BTreeMap::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            assert!(rest.split_once(' ').is_some_and(|(_, help)| !help.is_empty()), "{line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} comes twice");
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
            let name = series.split('{').next().unwrap();
            let family =
                ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).filter(|name| kinds.contains_key(*name));
            let kind = kinds.get(family.unwrap_or(name)).unwrap_or_else(|| panic!("{name} has no type"));
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
            assert!(name.starts_with("dbx_") && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            if let Some(labels) = series.strip_prefix(name).and_then(|rest| rest.strip_prefix('{')) {
                let labels = labels.strip_suffix('}').unwrap_or_else(|| panic!("{line}"));
                assert!(labels.split("\",").all(|label| label.contains("=\"")), "{line}");
            }
            assert!(samples.insert(series.to_owned(), value.parse().unwrap()).is_none(), "{series} comes twice");
        }
    }
    samples
}

#[test]
fn calls_are_counted_by_operation_and_outcome() {
    let app = App::start();
    let client = app.anonymous();
    for _ in 0..3 {
        client.put("strings/a", r#"{"value":"1"}"#).is(r#"{"result":"OK"}"#);
    }
    client.get("strings/a").is(r#"{"result":"1"}"#);
    client.post("get", r#"{"key":"a"}"#).is(r#"{"result":"1"}"#);
    client.post("raw", r#"{"command":["GET","a"]}"#).is(r#"{"result":"1"}"#);
    client.post(
        "pipeline",
        r#"{"calls":[{"op":"get","args":{"key":"a"}},{"op":"get","args":{"kye":"a"}},{"op":"incr","args":{"key":"a"}}]}"#,
    );
    app.redis.line("RPUSH list 1");
    client.get("strings/list").fails(409, "wrong_type", "");
    client.post("get", "{").fails(400, "malformed_json", "");
    client.get("nowhere/a").fails(404, "route_not_found", "");
    let response = app.gateway.operations("/metrics").unwrap();
    assert_eq!(response.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let samples = parse(&response.text());
    for (series, expected) in [
        ("dbx_calls_total{operation=\"set\",outcome=\"ok\"}", 3.0),
        ("dbx_calls_total{operation=\"get\",outcome=\"ok\"}", 4.0),
        ("dbx_calls_total{operation=\"get\",outcome=\"unknown_argument\"}", 1.0),
        ("dbx_calls_total{operation=\"get\",outcome=\"wrong_type\"}", 1.0),
        ("dbx_calls_total{operation=\"get\",outcome=\"malformed_json\"}", 1.0),
        ("dbx_calls_total{operation=\"incr\",outcome=\"ok\"}", 1.0),
        ("dbx_problems_total{code=\"route_not_found\"}", 1.0),
        ("dbx_problems_total{code=\"wrong_type\"}", 1.0),
        ("dbx_call_duration_seconds_count{operation=\"get\"}", 7.0),
        ("dbx_call_duration_seconds_bucket{operation=\"get\",le=\"+Inf\"}", 7.0),
        ("dbx_backend_up{database=\"redis\"}", 1.0),
        ("dbx_backend_connections_total{database=\"redis\"}", 2.0),
        ("dbx_calls_in_flight", 0.0),
        ("dbx_draining", 0.0),
    ] {
        assert_eq!(samples.get(series), Some(&expected), "{series}\n{samples:#?}");
    }
    assert!(samples.get("dbx_resident_memory_bytes").is_some_and(|bytes| *bytes > f64::from(1 << 20)), "{samples:#?}");
    // Buckets never fall.
    let buckets = |(series, count): (&String, &f64)| {
        let bound = series.strip_prefix("dbx_call_duration_seconds_bucket{operation=\"get\",le=\"")?.strip_suffix("\"}")?;
        Some((bound.parse::<f64>().unwrap(), *count))
    };
    let mut buckets: Vec<_> = samples.iter().filter_map(buckets).collect();
    buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
    assert!(buckets.len() > 10 && buckets.is_sorted_by(|one, next| one.1 <= next.1), "{buckets:?}");
}

#[test]
fn no_key_and_no_value_is_logged_or_counted() {
    let app = App::with(&["limits.maxKeyBytes=64", "limits.maxResultBytes=1KiB"]);
    let client = app.anonymous();
    let key = format!("{MARKER}-key");
    let value = format!("{MARKER}-value");
    client
        .with("X-Request-Id", "known-request")
        .put(&format!("strings/{key}"), format!("{{\"value\":\"{value}\"}}"))
        .is(r#"{"result":"OK"}"#);
    // In every way that fails.
    for path in [
        format!("strings/{key}/x"),
        format!("strings/{key}?{MARKER}={MARKER}"),
        format!("strings/%zz{key}"),
        MARKER.to_owned(),
        format!("/{MARKER}/{MARKER}/{MARKER}/{MARKER}/{MARKER}"),
        format!("/api/v1/{MARKER}"),
        format!("/api/v1/{MARKER}/strings/{MARKER}"),
        format!("/api/v1/redis//{key}"),
        format!("//{key}"),
        format!("strings/{}", MARKER.repeat(20)),
    ] {
        for method in ["GET", "PUT", "POST", "PATCH", "DELETE"] {
            assert!(client.send(method, &path, Some(format!("{{\"{MARKER}\":\"{MARKER}\"").as_bytes())).status >= 400, "{method} {path}");
        }
    }
    for body in [
        format!("{{\"key\":\"{key}\"}}"),
        format!("{{\"key\":\"{key}\",\"{MARKER}\":1}}"),
        format!("{{\"{MARKER}\":\"{MARKER}\""),
        format!("\"{MARKER}\""),
    ] {
        for op in ["incr", "get", MARKER, "pipeline", "raw"] {
            client.post(op, &body);
        }
    }
    client.post("raw", format!("{{\"command\":[\"{MARKER}\",\"{MARKER}\"]}}")).fails(422, "redis_error", "");
    client.post("pipeline", format!("{{\"calls\":[{{\"op\":\"{MARKER}\"}},{{\"op\":\"incr\",\"args\":{{\"key\":\"{key}\"}}}}]}}"));
    client.with("DBX-Timeout", MARKER).get("strings/a").fails(400, "invalid_argument", "DBX-Timeout");
    client.with("Host", MARKER).get("strings/a").fails(403, "forbidden", "Host");
    client.with("Content-Type", MARKER).post("get", "{}").fails(415, "unsupported_media_type", "Content-Type");
    app.redis.run(&[b"SET", key.as_bytes(), MARKER.repeat(300).as_bytes()]);
    client.get(&format!("strings/{key}")).fails(413, "result_too_large", "");
    app.redis.run(&[b"CLIENT", b"KILL", b"TYPE", b"normal"]);
    // What is there for the operator instead: a line for each request, found by its id. The rest is checked as the gateway ends.
    let found = || app.gateway.log().lines().find(|line| line.contains("known-request")).map(|line| (line.to_owned(), app.gateway.log()));
    let (line, log) = until("the log", SOON, found);
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["method"], &line["status"], &line["path"]), (&"PUT".into(), &200.into(), &"/api/v1/redis/strings".into()));
    assert!(log.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{log}");
}
