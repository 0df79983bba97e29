//! Changes with an `Idempotency-Key`: made at most once, whoever asks again, and whatever breaks.

use std::{thread, time::Duration};

use serde_json::{Value, json};

use crate::support::{App, Client, Gateway, Redis, SOON, until};

fn keyed(client: &Client, key: &str) -> Client {
    client.with("Idempotency-Key", key)
}

const INCR: &str = r#"{"key":"counter"}"#;

#[test]
fn a_change_that_is_sent_again_is_not_made_again() {
    let app = App::start();
    let client = keyed(&app.anonymous(), "a");
    for replayed in [None, Some("true"), Some("true")] {
        let response = client.post("incr", INCR);
        response.is(r#"{"result":1}"#);
        assert_eq!((response.header("idempotency-replayed"), response.header("content-type")), (replayed, Some("application/json")));
    }
    assert_eq!(app.redis.line("GET counter"), "1");
    keyed(&app.anonymous(), "b").post("incr", INCR).is(r#"{"result":2}"#);
    // Another request under the same key, another path, another body, another representation.
    client.post("incr", r#"{"key":"other"}"#).fails(422, "idempotency_mismatch", "Idempotency-Key");
    client.post("decr", INCR).fails(422, "idempotency_mismatch", "Idempotency-Key");
    client.post("incr?integers=string", INCR).fails(422, "idempotency_mismatch", "Idempotency-Key");
    client.with("Accept", "application/octet-stream").post("incr", INCR).fails(422, "idempotency_mismatch", "Idempotency-Key");
    // What reads is not a change.
    for expected in ["2", "3"] {
        client.post("get", INCR).is(&format!(r#"{{"result":"{expected}"}}"#));
        client.get("strings/counter").is(&format!(r#"{{"result":"{expected}"}}"#));
        app.redis.line("SET counter 3");
    }
    app.anonymous().with("Idempotency-Key", "").post("incr", INCR).fails(400, "invalid_argument", "Idempotency-Key");
    keyed(&app.anonymous(), &"x".repeat(256)).post("incr", INCR).fails(400, "invalid_argument", "Idempotency-Key");
}

#[test]
fn every_kind_of_change_has_its_answer_kept() {
    let app = App::start();
    let client = app.anonymous();
    let put = keyed(&client, "put");
    put.put("strings/a", r#"{"value":"1","nx":true}"#).is(r#"{"result":"OK"}"#);
    put.put("strings/a", r#"{"value":"1","nx":true}"#).is(r#"{"result":"OK"}"#);
    let delete = keyed(&client, "delete");
    delete.delete("strings/a").is(r#"{"result":1}"#);
    delete.delete("strings/a").is(r#"{"result":1}"#);
    let octets = keyed(&client, "octets").with("Accept", "application/octet-stream");
    for _ in 0..2 {
        let response = octets.post("incr", INCR);
        assert_eq!((&*response.body, response.header("content-type")), (&b"1"[..], Some("application/octet-stream")));
    }
    let calls = r#"{"calls":[{"op":"incr","args":{"key":"counter"}},{"op":"get","args":{"key":"counter"}}]}"#;
    for path in ["pipeline", "transaction"] {
        let (first, again) = (keyed(&client, path).post(path, calls), keyed(&client, path).post(path, calls));
        assert_eq!((first.status, &first.body), (200, &again.body), "{path}");
    }
    keyed(&client, "raw").post("raw", r#"{"command":["INCR","counter"]}"#).is(r#"{"result":4}"#);
    keyed(&client, "raw").post("raw", r#"{"command":["INCR","counter"]}"#).is(r#"{"result":4}"#);
    // Refusals are answers too; a problem names the request that it answers.
    app.redis.line("SET word tea");
    let word = keyed(&client, "word");
    word.post("incr", r#"{"key":"word"}"#).fails(422, "redis_error", "");
    app.redis.line("SET word 1");
    word.post("incr", r#"{"key":"word"}"#).fails(422, "redis_error", "");
    // An answer that is too large to be kept is not taken for one that never was.
    app.redis.run(&[b"SET", b"large", "x".repeat(70_000).as_bytes()]);
    let large = keyed(&client, "large");
    assert_eq!(large.post("getdel", r#"{"key":"large"}"#).body.len(), 70_000 + 13);
    large.post("getdel", r#"{"key":"large"}"#).fails(409, "conflict", "");
}

#[test]
fn of_many_at_once_one_is_made() {
    let app = App::start();
    for round in 0..20 {
        let app = &app;
        let answers: Vec<(u16, Value)> = thread::scope(|scope| {
            let client = |_| scope.spawn(move || keyed(&app.anonymous(), &format!("round {round}")).post("incr", INCR));
            let clients: Vec<_> = (0..12).map(client).collect();
            clients.into_iter().map(|client| client.join().unwrap()).map(|response| (response.status, response.json())).collect()
        });
        assert!(answers.iter().any(|(status, _)| *status == 200));
        for (status, answer) in answers {
            match status {
                200 => assert_eq!(answer["result"], round + 1),
                _ => assert_eq!((&answer["code"], &answer["retryable"]), (&json!("idempotency_in_progress"), &json!(true)), "{answer}"),
            }
        }
    }
    assert_eq!(app.redis.line("GET counter"), "20");
}

#[test]
fn a_change_that_may_have_been_made_is_not_tried_again() {
    let mut redis = Redis::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let gateway = Gateway::start(&redis, &["limits.callTimeout=300ms", "limits.maxCallTimeout=400ms", "limits.idempotencyWindow=3s"]);
    let client = keyed(&gateway.anonymous(), "lost");
    gateway.anonymous().post("set", r#"{"key":"dbx:x","value":"1"}"#).is(r#"{"result":"OK"}"#);
    redis.hold();
    let refused = client.post("incr", INCR);
    assert_eq!(refused.json()["retryable"], true, "the marker could not be set: {}", refused.text());
    redis.release();
    until("service", SOON, || {
        let served = gateway.anonymous().get("strings/dbx:x").status == 200;
        (served && gateway.is_connected()).then_some(())
    });
    // A marker of a gateway that is no more: first it may still be at work, then nobody knows, then it is forgotten.
    let crash = keyed(&gateway.anonymous(), "crash");
    crash.post("incr", INCR);
    let script = "for _,k in ipairs(redis.call('KEYS','dbx:idem:*')) do local v=redis.call('GET',k) \
                  redis.call('SET',k,'p'..string.sub(v,2,33)..ARGV[1]..ARGV[2],'PX',3000) end return 1";
    let (lease, window) = (700u64.to_be_bytes(), 3000u64.to_be_bytes());
    redis.run(&[b"EVAL", script.as_bytes(), b"0", &lease, &window]);
    let counted = redis.line("GET counter");
    crash.post("incr", INCR).fails(409, "idempotency_in_progress", "");
    thread::sleep(Duration::from_millis(900));
    let problem = crash.post("incr", INCR).fails(409, "conflict", "");
    assert_eq!((&problem["outcome"], &problem["retryable"]), (&json!("unknown"), &json!(false)));
    assert_eq!(redis.line("GET counter"), counted);
    until("the end of the window", SOON, || (crash.post("incr", INCR).status == 200).then_some(()));
    // Without a database, nothing is done and everybody may come again.
    redis.kill();
    until("refusal", SOON, || {
        let response = keyed(&gateway.anonymous(), "down").post("incr", INCR);
        (response.status == 503 && response.json()["retryable"] == true).then_some(())
    });
}

#[test]
fn a_client_that_leaves_leaves_nothing_half_known() {
    let app = App::start();
    let client = keyed(&app.anonymous(), "left");
    app.redis.line("CLIENT PAUSE 500 WRITE");
    let mut connection = client.connect();
    connection.write(&client.request("POST", "incr", Some(INCR.as_bytes()))).unwrap();
    thread::sleep(Duration::from_millis(100));
    drop(connection);
    until("the change", SOON, || (app.redis.line("GET counter") == "1").then_some(()));
    until("its answer", SOON, || (client.post("incr", INCR).status == 200).then_some(()));
    client.post("incr", INCR).is(r#"{"result":1}"#);
}
