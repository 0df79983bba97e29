//! Versions of values: what carries an ETag, what is not sent twice, and changes that depend on one.

use std::{thread, time::Instant};

use crate::support::{App, Client, Response};

fn raw(client: &Client) -> Client {
    client.with("Accept", "application/octet-stream")
}

fn tag(response: &Response) -> String {
    response.header("etag").unwrap_or_else(|| panic!("no ETag: {response:?}")).to_owned()
}

#[test]
fn a_value_has_a_version_in_each_representation() {
    let app = App::start();
    let client = app.anonymous();
    app.redis.line("SET a Ada");
    app.redis.line("SET b Ada");
    let response = client.get("strings/a");
    let json = tag(&response);
    assert_eq!(
        (response.header("cache-control"), response.header("vary")),
        (Some("private, no-cache"), Some("Accept, Accept-Encoding, Authorization"))
    );
    assert_eq!((json.len(), tag(&client.get("strings/b"))), (36, json.clone()), "the same bytes");
    let (octets, base64) = (tag(&raw(&client).get("strings/a")), tag(&client.get("strings/a?encoding=base64")));
    assert!(json != octets && json != base64 && octets != base64);
    assert_eq!((&json[..33], &json[..33]), (&octets[..33], &base64[..33]), "one hash");
    assert_eq!(tag(&client.send("HEAD", "strings/a", None)), json);
    app.redis.line("SET a Ida");
    assert_ne!(tag(&client.get("strings/a"))[..33], json[..33]);
    // What is no single value has none; what is long only if it is wanted.
    app.redis.run(&[b"SET", b"long", "x".repeat((64 << 10) + 1).as_bytes()]);
    app.redis.run(&[b"SET", b"short", "x".repeat(64 << 10).as_bytes()]);
    assert!(client.get("strings/short").header("etag").is_some());
    assert!(client.get("strings/long").header("etag").is_none());
    assert!(client.get("strings/long?etag=true").header("etag").is_some());
    assert!(client.get("keys").header("etag").is_none());
    client.get("strings/a?etag=maybe").fails(400, "invalid_argument", "etag");
    client.get("strings/missing").fails(404, "key_not_found", "");
}

#[test]
fn what_a_client_has_is_not_sent_again() {
    let app = App::start();
    let client = app.anonymous();
    app.redis.line("SET a Ada");
    let etag = tag(&client.get("strings/a"));
    for known in [etag.clone(), format!("\"x\", W/{etag}"), "*".to_owned()] {
        let response = client.with("If-None-Match", &known).get("strings/a");
        assert_eq!((response.status, response.header("etag"), response.body.len()), (304, Some(&*etag), 0), "{known}");
    }
    client.with("If-None-Match", &etag).get("strings/missing").fails(404, "key_not_found", "");
    // Another representation is another thing to have.
    assert_eq!(raw(&client).with("If-None-Match", &etag).get("strings/a").body, b"Ada");
    client.with("If-None-Match", "Ada").get("strings/a").fails(400, "invalid_argument", "If-None-Match");
    client.with("If-Match", &etag).get("strings/a").is(r#"{"result":"Ada"}"#);
    app.redis.line("SET a Ida");
    client.with("If-None-Match", &etag).get("strings/a").is(r#"{"result":"Ida"}"#);
    client.with("If-Match", &etag).get("strings/a").fails(412, "precondition_failed", "If-Match");
}

#[test]
fn a_change_may_depend_on_a_version() {
    let app = App::start();
    let client = app.anonymous();
    app.redis.line("SET a Ada");
    let old = tag(&client.get("strings/a"));
    client.with("If-Match", &old).put("strings/a", r#"{"value":"Ida","ex":60}"#).is(r#"{"result":"OK"}"#);
    assert_eq!(app.redis.line("TTL a"), "60");
    client.with("If-Match", &old).put("strings/a", r#"{"value":"Eva"}"#).fails(412, "precondition_failed", "If-Match");
    client.with("If-Match", &old).delete("strings/a").fails(412, "precondition_failed", "If-Match");
    client.with("If-Match", "*").put("strings/missing", r#"{"value":"1"}"#).fails(412, "precondition_failed", "If-Match");
    client.with("If-None-Match", "*").put("strings/a", r#"{"value":"1"}"#).fails(412, "precondition_failed", "If-None-Match");
    client.get("strings/a").is(r#"{"result":"Ida"}"#);
    // A version holds whatever it was read as, and for whatever is sent.
    let octets = tag(&raw(&client).get("strings/a"));
    let bytes = client.with("Content-Type", "application/octet-stream");
    bytes.with("If-Match", &format!("\"other\", {octets}")).put("strings/a", b"\xff").is(r#"{"result":"OK"}"#);
    let binary = tag(&client.get("strings/a?encoding=base64"));
    client.with("If-None-Match", &binary).put("strings/a", r#"{"value":"1"}"#).fails(412, "precondition_failed", "If-None-Match");
    client.with("If-None-Match", &old).put("strings/a", r#"{"value":"2"}"#).is(r#"{"result":"OK"}"#);
    client.with("If-Match", "*").delete("strings/a").is(r#"{"result":1}"#);
    client.with("If-None-Match", "*").put("strings/a", r#"{"value":"3"}"#).is(r#"{"result":"OK"}"#);
    // Keys that no path can hold, in a transaction, and what is still checked first.
    client.with("If-None-Match", "*").put("strings/?keyBase64=Li4=", r#"{"value":"dots"}"#).is(r#"{"result":"OK"}"#);
    let version = tag(&client.get("strings/a"));
    let calls = serde_json::json!({ "watch": [{ "key": "a", "version": version }], "calls": [{ "op": "incr", "args": { "key": "a" } }] });
    client.post("transaction", calls.to_string()).is(r#"{"result":[{"result":4}]}"#);
    client.post("transaction", calls.to_string()).fails(412, "precondition_failed", "watch[0]");
    client.with("If-Match", "*").put("strings/a", r#"{"valeu":"1"}"#).fails(400, "unknown_argument", "valeu");
    // A condition is never ignored.
    client.with("If-Match", &version).patch("keys/a", r#"{"seconds":60}"#).fails(400, "invalid_argument", "If-Match");
    app.redis.line("RPUSH l 1");
    client.with("If-Match", "*").put("strings/l", r#"{"value":"1"}"#).fails(412, "precondition_failed", "If-Match");
}

#[test]
fn of_many_that_depend_on_a_version_one_succeeds() {
    const CLIENTS: usize = 16;
    const ROUNDS: usize = 30;
    let app = App::start();
    let started = Instant::now();
    let mut refused = 0;
    for round in 0..ROUNDS {
        app.redis.run(&[b"SET", b"race", round.to_string().as_bytes()]);
        let version = tag(&app.anonymous().get("strings/race"));
        let (version, app) = (&version, &app);
        let answers: Vec<Response> = thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    scope.spawn(move || {
                        app.anonymous().with("If-Match", version).put("strings/race", format!("{{\"value\":\"{round} by {client}\"}}"))
                    })
                })
                .collect();
            clients.into_iter().map(|client| client.join().unwrap()).collect()
        });
        let winners: Vec<usize> = (0..CLIENTS).filter(|client| answers[*client].status == 200).collect();
        assert_eq!(winners.len(), 1, "{answers:?}");
        assert_eq!(app.redis.line("GET race"), format!("{round} by {}", winners[0]));
        for answer in answers.iter().filter(|answer| answer.status != 200) {
            answer.fails(412, "precondition_failed", "If-Match");
            refused += 1;
        }
    }
    assert_eq!(refused, ROUNDS * (CLIENTS - 1));
    println!("{ROUNDS} races of {CLIENTS} in {:?}", started.elapsed());
}

#[test]
fn what_is_stored_has_its_version_at_once() {
    let app = App::start();
    let client = app.anonymous();
    for (path, body) in [
        ("strings/a", r#"{"value":"Ad\u00e4"}"#),
        ("strings/a", r#"{"value":17}"#),
        ("strings/a?encoding=base64", r#"{"value":"/w=="}"#),
        ("hashes/h/fields/f", r#"{"value":"Ada"}"#),
        ("lists/l/items/0", r#"{"element":"Ada"}"#),
    ] {
        app.redis.line("LPUSH l x");
        let stored = tag(client.put(path, body).is(if path.starts_with('h') { r#"{"result":1}"# } else { r#"{"result":"OK"}"# }));
        assert_eq!(tag(&client.get(path)), stored, "{path} {body}");
    }
    let bytes = raw(&client).with("Content-Type", "application/octet-stream");
    let first = tag(&bytes.put("strings/b", b"\xff\0"));
    assert_eq!(tag(&raw(&client).get("strings/b")), first);
    let second = tag(&client.with("If-Match", &first).put("strings/b", r#"{"value":"2"}"#));
    client.with("If-Match", &first).put("strings/b", r#"{"value":"3"}"#).fails(412, "precondition_failed", "If-Match");
    client.with("If-Match", &second).delete("strings/b").is(r#"{"result":1}"#);
    // Who hears what was there before does not hear whether the new value is.
    app.redis.line("SET c old");
    for body in [r#"{"value":"new","nx":true,"get":true}"#, r#"{"value":"new","get":true}"#] {
        assert_eq!(client.put("strings/c", body).is(r#"{"result":"old"}"#).header("etag"), None);
    }
    let long = serde_json::json!({ "value": "x".repeat((64 << 10) + 1) }).to_string();
    assert_eq!(client.put("strings/c", &long).header("etag"), None);
    let stored = tag(&client.put("strings/c?etag=true", &long));
    assert_eq!(tag(&client.get("strings/c?etag=true")), stored);
    assert_eq!(client.put("sorted-sets/z/members/m", r#"{"score":1}"#).header("etag"), None);
}
