//! Who calls: what is taken as a credential and what is not, over HTTP, sockets and event streams, and what happens when a credential
//! is withdrawn or ends.

use std::time::{Duration, SystemTime};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use dbx_crds::api_key::Time;
use ring::signature::KeyPair as _;
use serde_json::{Value, json};

use crate::support::{App, Client, Events, Gateway, Keys, Redis, SOON, until};

const ALL: &str = "grants: [{ access: [all] }]";

fn gateway(keys: &Keys, more: &[&str]) -> App {
    let settings = keys.settings();
    let settings: Vec<&str> = settings.iter().map(String::as_str).chain(more.iter().copied()).collect();
    App::with(&settings)
}

fn bearer(app: &App, token: &str) -> Client {
    app.anonymous().with("Authorization", &format!("Bearer {token}"))
}

/// Whether a credential is taken at this moment.
fn passes(client: &Client) -> bool {
    match client.get("keys/nothing").status {
        404 => true,
        401 => false,
        status => panic!("{status}"),
    }
}

/// A text with its last letter changed.
fn altered(text: &str) -> String {
    let last = if text.ends_with('0') { '1' } else { '0' };
    format!("{}{last}", &text[..text.len() - 1])
}

#[test]
fn only_what_is_right_is_taken() {
    let mut keys = Keys::new();
    let good = keys.add("web", &[ALL]);
    let disabled = keys.add("web", &[ALL, "disabled: true"]);
    let expired = keys.add("web", &[ALL, "expires: 2026-01-02T00:00:00Z"]);
    let lost = Keys::new().add("other", &[ALL]);
    let app = gateway(&keys, &[]);
    let (first, rest) = good.split_at(good.rfind('_').unwrap() + 1);
    let (_, foreign) = lost.split_at(lost.rfind('_').unwrap() + 1);
    for (header, detail) in [
        (String::new(), "expected `Bearer` and a key or a token"),
        ("Bearer".to_owned(), "expected `Bearer` and a key or a token"),
        (format!("Basic {good}"), "expected `Bearer` and a key or a token"),
        (good.clone(), "expected `Bearer` and a key or a token"),
        ("Bearer nonsense".to_owned(), "it is neither a key nor a token"),
        ("Bearer dbx_".to_owned(), "it is neither a key nor a token"),
        ("Bearer eyJhbGciOiJub25lIn0.e30.".to_owned(), "it is neither a key nor a token"),
        (format!("Bearer {}", &good[..good.len() - 1]), "the key is mistyped or cut: its checksum is wrong"),
        (format!("Bearer {}", altered(&good)), "the key is mistyped or cut: its checksum is wrong"),
        (format!("Bearer {good}0"), "the key is mistyped or cut: its checksum is wrong"),
        (format!("Bearer {first}{foreign}"), "the key is mistyped or cut: its checksum is wrong"),
        (format!("Bearer {}", good.to_uppercase()), "it is neither a key nor a token"),
        (format!("Bearer {good}{}", "a".repeat(9000)), "the key is mistyped or cut: its checksum is wrong"),
        (format!("Bearer {lost}"), "the key is not known"),
        (format!("Bearer {disabled}"), "the key is disabled"),
        (format!("Bearer {expired}"), "the key has expired"),
    ] {
        let response = app.anonymous().with("Authorization", &header).put("strings/a", r#"{"value":"1"}"#);
        assert_eq!(response.status, 401, "{header}: {}", response.text());
        let problem = response.json();
        assert_eq!((&problem["code"], &problem["detail"]), (&json!("unauthenticated"), &json!(detail)), "{header}");
        assert_eq!(response.header("www-authenticate"), Some(r#"Bearer realm="dbx", error="invalid_token""#));
    }
    let none = app.anonymous().put("strings/a", r#"{"value":"1"}"#);
    assert_eq!((none.status, none.header("www-authenticate")), (401, Some(r#"Bearer realm="dbx""#)));
    let twice = bearer(&app, &good).with("Authorization", &format!("Bearer {good}"));
    assert_eq!(twice.get("keys/a").status, 401);
    assert_eq!(app.redis.line("DBSIZE"), "0");

    for scheme in ["Bearer", "bearer", "BEARER"] {
        let client = app.anonymous().with("Authorization", &format!("{scheme} {good}"));
        assert_eq!(client.put("strings/a", r#"{"value":"1"}"#).status, 200, "{scheme} {rest}");
    }
    // What says nothing of the data is for everybody, and by any name once credentials are asked for.
    let elsewhere = app.anonymous().with("Host", "api.shop.example");
    assert_eq!(elsewhere.get("/openapi.json").status, 200);
    assert_eq!(elsewhere.get("/api/v1").status, 401);
    assert_eq!(elsewhere.with("Authorization", &format!("Bearer {good}")).get("/api/v1").status, 200);
    assert!(!app.gateway.log().contains(rest), "a key is in the log");
}

#[test]
fn who_calls_is_told_who_it_is() {
    let mut keys = Keys::new();
    let web =
        keys.add("shop/web", &["grants: [{ access: [read], databases: [redis], keys: ['cart:*'] }]", "expires: 2090-01-01T00:00:00Z"]);
    let bare = keys.add("bare", &[]);
    let app = gateway(&keys, &[r#"auth.grants=[{ to: ["key:shop/*"], access: [publish], channels: [news] }]"#]);
    let me = bearer(&app, &web).get("/api/v1/whoami").json()["result"].clone();
    assert_eq!(me["identity"], "key:shop/web");
    assert_eq!(me["until"], "2090-01-01T00:00:00Z");
    let expected =
        json!([{ "access": ["publish"], "channels": ["news"] }, { "access": ["read"], "databases": ["redis"], "keys": ["cart:*"] }]);
    assert_eq!(me["grants"], expected);
    let operations = bearer(&app, &web).get("/api/v1/redis").json()["result"]["operations"].clone();
    let may = |name: &str| operations.as_array().unwrap().iter().any(|known| known == name);
    assert!(
        may("get") && may("publish") && may("scan") && !may("set") && !may("dbsize") && !may("eval") && !may("subscribe"),
        "{operations}"
    );
    // Whom nothing was granted may do nothing, and learns of nothing.
    assert_eq!(bearer(&app, &bare).get("/api/v1").json(), json!({ "result": { "databases": [] } }));
    assert_eq!(bearer(&app, &bare).get("/api/v1/redis").status, 404);
    assert_eq!(bearer(&app, &bare).get("keys/a").json()["code"], "forbidden");
}

#[test]
fn administrators_see_which_keys_are_used() {
    let mut keys = Keys::new();
    let admin = keys.add("admin", &["grants: [{ access: [admin] }]", "owner: Ada"]);
    let web = keys.add("web", &["grants: [{ access: [read, write] }]"]);
    keys.add("idle", &["expires: 2026-01-02T00:00:00Z"]);
    let app = gateway(&keys, &[]);
    assert_eq!(bearer(&app, &web).get("keys/a").status, 404);
    assert_eq!(bearer(&app, &web).get("/api/v1/keys").json()["code"], "forbidden");
    let known = bearer(&app, &admin).get("/api/v1/keys").json()["result"]["keys"].clone();
    let told: Vec<_> = known.as_array().unwrap().iter().map(|key| (&key["name"], &key["state"], key["lastUsed"].is_null())).collect();
    assert_eq!(
        told,
        [(&json!("admin"), &json!("valid"), false), (&json!("idle"), &json!("expired"), true), (&json!("web"), &json!("valid"), false)]
    );
    assert_eq!((&known[0]["owner"], &known[0]["id"]), (&json!("Ada"), &json!(admin[4..20])));
    assert!(!known.to_string().contains(&admin[21..]));
}

#[test]
fn anonymous_callers_have_grants_of_their_own() {
    let mut keys = Keys::new();
    let web = keys.add("web", &["grants: [{ access: [write] }]"]);
    let grants = r#"auth.grants=[{ to: [anonymous], access: [read], keys: ['public:*'] }, { to: ['*'], access: [read] }]"#;
    let app = App::with(&["auth.mode=none", grants, &keys.source()]);
    let anonymous = app.anonymous();
    assert_eq!(anonymous.get("/api/v1/whoami").json()["result"]["identity"], "anonymous");
    assert_eq!(anonymous.get("keys/public:a").status, 404);
    assert_eq!(anonymous.get("keys/private:a").status, 403);
    assert_eq!(anonymous.put("strings/public:a", r#"{"value":"1"}"#).status, 403);
    let known = bearer(&app, &web);
    assert_eq!(known.put("strings/private:a", r#"{"value":"1"}"#).status, 200);
    assert_eq!(known.get("keys/private:a").status, 200);
    // Who shows something wrong is not taken for nobody.
    assert_eq!(bearer(&app, &altered(&web)).get("keys/public:a").status, 401);
}

#[test]
fn without_credentials_to_judge_by_one_that_is_shown_means_nothing() {
    let app = App::start();
    assert_eq!(bearer(&app, "anything").get("keys/a").status, 404);
    assert_eq!(app.anonymous().with("Authorization", "Basic YTpi").get("keys/a").status, 404);
}

#[test]
fn keys_are_exchanged_while_the_gateway_runs() {
    let mut keys = Keys::new();
    let old = keys.add("web", &[ALL]);
    let other = keys.add("other", &[ALL]);
    let app = gateway(&keys, &[]);
    let (by_old, by_other) = (bearer(&app, &old), bearer(&app, &other));
    let (mut socket, mut kept) = (by_old.socket("ws"), by_other.socket("ws"));
    let subscribe = json!({ "id": 1, "op": "subscribe", "args": { "channels": ["news"] } });
    assert!(socket.call(subscribe.clone())["error"].is_null());
    assert!(kept.call(subscribe)["error"].is_null());
    let mut stream = Events::open(&by_old, "channels/news");
    stream.is("subscribed");

    let revision = |app: &App| {
        let ready = app.gateway.operations("/readyz?verbose").unwrap().json();
        assert_eq!(ready["keyFiles"][0]["path"], keys_path(&keys), "{ready}");
        ready["keyFiles"][0]["revision"].as_str().unwrap().to_owned()
    };
    let before = revision(&app);
    let new = keys_add(&mut keys, "web");
    let by_new = bearer(&app, &new);
    until("the new key", SOON, || passes(&by_new).then_some(()));
    assert!(passes(&by_old), "both are taken");
    let ready = app.gateway.operations("/readyz?verbose").unwrap().json();
    assert_ne!(ready["keyFiles"][0]["revision"], before.as_str());

    // A file that cannot be used changes nothing.
    keys.spoil("keys: [{ id: nonsense }]");
    until("the complaint", SOON, || app.gateway.log().contains("the old ones stay in use").then_some(()));
    assert!(passes(&by_old) && passes(&by_new));

    keys.remove(&old);
    until("the end of the old key", SOON, || (!passes(&by_old)).then_some(()));
    assert!(passes(&by_new) && passes(&by_other));
    assert_eq!(socket.closed(), (4401, "the credential is not taken any more".to_owned()));
    assert_eq!(stream.is("closed"), json!({ "reason": "unauthenticated" }));
    assert_eq!(stream.try_next().unwrap(), None);
    // Nobody else notices.
    app.redis.line("PUBLISH news hello");
    assert_eq!(kept.json()["message"], "hello");
    // Keys are in no log.
    let secret = |token: &str| token.rsplit('_').next().unwrap().to_owned();
    for token in [&old, &other, &new] {
        assert!(!app.gateway.log().contains(&secret(token)));
    }
}

fn keys_path(keys: &Keys) -> String {
    keys.path().display().to_string()
}

fn keys_add(keys: &mut Keys, name: &str) -> String {
    keys.add(name, &[ALL])
}

#[test]
fn a_credential_that_ends_closes_what_it_opened() {
    let mut keys = Keys::new();
    let end = Time::from(SystemTime::now() + Duration::from_secs(4));
    let short = keys.add("short", &[ALL, &format!("expires: {end}")]);
    let app = gateway(&keys, &[]);
    let client = bearer(&app, &short);
    let mut socket = client.socket("ws");
    assert_eq!(socket.call(json!({ "id": 1, "op": "ping", "args": {} }))["result"], "PONG");
    let mut stream = Events::open(&client, "channels/news");
    stream.is("subscribed");
    assert_eq!(socket.closed(), (4401, "the credential has ended".to_owned()));
    assert_eq!(stream.is("closed"), json!({ "reason": "unauthenticated" }));
    assert_eq!(client.get("keys/a").json()["detail"], "the key has expired");
}

#[test]
fn sockets_show_credentials_in_three_ways() {
    let mut keys = Keys::new();
    let web = keys.add("web", &[ALL]);
    let app = gateway(&keys, &[]);
    let ping = json!({ "id": 7, "op": "ping", "args": {} });
    assert_eq!(bearer(&app, &web).socket("ws").call(ping.clone())["result"], "PONG");
    let offered = app.anonymous().with("Sec-WebSocket-Protocol", &format!("dbx.v1, dbx.bearer.{web}"));
    assert_eq!(offered.socket("ws").call(ping.clone())["result"], "PONG");
    // A browser that names no other protocol gets none back.
    for wrong in [altered(&web), "nonsense".to_owned()] {
        let offered = app.anonymous().with("Sec-WebSocket-Protocol", &format!("dbx.v1, dbx.bearer.{wrong}"));
        for client in [offered, bearer(&app, &wrong)] {
            assert!(client.try_socket("ws").err().unwrap().contains("401"));
        }
    }
    for path in ["ws", "/api/v1/ws"] {
        let mut socket = app.anonymous().socket(path);
        let answer = socket.call(json!({ "id": "a", "op": "authenticate", "args": { "token": web } }));
        assert_eq!(answer, json!({ "id": "a", "result": { "identity": "key:web" } }));
        let mut call = ping.clone();
        if path != "ws" {
            call["database"] = "redis".into();
        }
        assert_eq!(socket.call(call)["result"], "PONG", "{path}");
        let again = socket.call(json!({ "id": "b", "op": "authenticate", "args": { "token": web } }));
        assert_eq!(again["error"]["code"], "conflict", "{again}");
    }
    // Who is sure of its token does not wait for the answer.
    let mut socket = app.anonymous().socket("ws");
    socket.send(&json!({ "id": 1, "op": "authenticate", "args": { "token": web } }).to_string());
    for id in 2..5 {
        socket.send(&json!({ "id": id, "op": "ping", "args": {} }).to_string());
    }
    assert_eq!([(); 4].map(|()| socket.json()["id"].as_i64().unwrap()), [1, 2, 3, 4]);
    // A large frame is read once the client is known, and not before.
    let large = json!({ "id": 1, "op": "set", "args": { "key": "a", "value": "v".repeat(200_000) } });
    let mut socket = app.anonymous().socket("ws");
    socket.call(json!({ "id": "a", "op": "authenticate", "args": { "token": web } }));
    assert_eq!(socket.call(large.clone())["result"], "OK");
    let mut socket = app.anonymous().socket("ws");
    let _ = socket.try_send(&large.to_string());
    assert!(socket.next().is_err(), "it is left");

    for (frame, code, close) in [
        (json!({ "id": 1, "op": "authenticate", "args": { "token": altered(&web) } }), "unauthenticated", 4401),
        (json!({ "id": 1, "op": "authenticate", "args": { "token": "" } }), "unauthenticated", 4401),
        (json!({ "id": 1, "op": "authenticate", "args": { "tokens": web } }), "invalid_argument", 1008),
        (json!({ "id": 1, "op": "authenticate" }), "invalid_argument", 1008),
        (json!({ "id": 1, "op": "get", "args": { "key": "a" } }), "unauthenticated", 4401),
        (json!([]), "invalid_argument", 1008),
    ] {
        let mut socket = app.anonymous().socket("ws");
        socket.send(&frame.to_string());
        assert_eq!(socket.json()["error"]["code"], code, "{frame}");
        assert_eq!(socket.closed().0, close, "{frame}");
    }
    // Only who is known learns which databases there are.
    let mut socket = app.anonymous().socket("/api/v1/nothing/ws");
    let answer = socket.call(json!({ "id": 1, "op": "authenticate", "args": { "token": web } }));
    assert_eq!(answer["error"]["code"], "unknown_database");
    let mut silent = app.anonymous().socket("ws");
    assert_eq!(silent.closed(), (4401, "no credential was shown in time".to_owned()));
}

#[test]
fn a_credential_in_the_query_is_taken_where_that_is_said_and_is_in_no_log() {
    let mut keys = Keys::new();
    let web = keys.add("web", &[ALL]);
    let secret = web.rsplit('_').next().unwrap();
    let app = gateway(&keys, &["auth.tokenInQuery=true"]);
    let client = app.anonymous();
    assert_eq!(client.get(&format!("keys/nothing?token={web}")).status, 404);
    assert_eq!(client.get(&format!("strings/nothing?encoding=base64&token={web}&timeout=1s")).status, 404);
    assert_eq!(client.get(&format!("keys/nothing?token={}", altered(&web))).status, 401);
    assert_eq!(client.get(&format!("keys/nothing?token={web}&token={web}")).status, 401, "there is one");
    assert_eq!(bearer(&app, &web).get(&format!("keys/nothing?token={web}")).status, 401, "there is one");
    let mut stream = Events::open(&client, &format!("channels/news?token={web}"));
    stream.is("subscribed");
    let mut socket = client.socket(&format!("ws?token={web}"));
    assert_eq!(socket.call(json!({ "id": 7, "op": "ping", "args": {} }))["result"], "PONG");
    assert!(!app.gateway.log().contains(secret));

    let app = gateway(&keys, &[]);
    assert_eq!(app.anonymous().get(&format!("keys/nothing?token={web}")).status, 401);
    let problem = bearer(&app, &web).get("keys/nothing?token=a").json();
    assert_eq!((&problem["code"], &problem["param"]), (&json!("unknown_argument"), &json!("token")));
    assert!(!app.gateway.log().contains(secret));
}

#[test]
fn a_file_of_keys_that_cannot_be_used_is_told_at_the_start() {
    let redis = Redis::start();
    let keys = Keys::new();
    let gateway = gateway(&keys, &[]);
    assert!(!passes(&gateway.anonymous()), "an empty file is a file");
    drop(redis);
    keys.spoil("keys: [{ id: '0123456789abcdef', name: 'a b', sha256: x }]");
    let mut process = std::process::Command::new(env!("CARGO_BIN_EXE_dbx-gateway"));
    let folder = tempfile::tempdir().unwrap();
    process.env_clear().current_dir(&folder).args(["--database", "redis=redis://127.0.0.1:1", "--set", "auth.mode=required"]);
    let output = process
        .args(["--set", &keys.source(), "--set", "listen.data=127.0.0.1:0", "--set", "listen.operations=127.0.0.1:0"])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && told.contains("auth.keysFrom[0]: "), "{told}");
}

/// An identity that is confined changes nothing through the records of changes that are sent again.
#[test]
fn changes_with_a_key_of_their_own_are_confined_as_well() {
    let mut keys = Keys::new();
    let web = keys.add("web", &["grants: [{ access: [read, write], keys: ['cart:*'] }]"]);
    let other = keys.add("other", &["grants: [{ access: [read, write], keys: ['cart:*'] }]"]);
    let app = gateway(&keys, &[]);
    let change = |token: &str, key: &str| bearer(&app, token).with("Idempotency-Key", "one").post("incr", format!(r#"{{"key":"{key}"}}"#));
    assert_eq!(change(&web, "cart:1").json(), json!({ "result": 1 }));
    assert_eq!(change(&web, "cart:1").json(), json!({ "result": 1 }), "it is not made again");
    assert_eq!(change(&other, "cart:1").json(), json!({ "result": 2 }), "it is another's");
    let refused = bearer(&app, &web).with("Idempotency-Key", "two").post("incr", r#"{"key":"stock:1"}"#);
    assert_eq!(refused.status, 403);
    assert_eq!(app.redis.line("EXISTS stock:1"), "0");
}

#[test]
fn what_a_caller_may_is_known_before_the_database_is() {
    let mut keys = Keys::new();
    let web = keys.add("web", &[ALL]);
    let settings = keys.settings();
    let gateway = Gateway::launch("redis://127.0.0.1:1", &settings.each_ref().map(String::as_str));
    assert_eq!(gateway.anonymous().get("keys/a").status, 401);
    assert_eq!(gateway.anonymous().with("Authorization", &format!("Bearer {web}")).get("keys/a").status, 503);
}

/// A token with the first letter of its signature changed.
fn tampered(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    format!("{signed}.{first}{}", &signature[1..])
}

/// A token signed by an Ed25519 key, and the JWKS that it is in.
struct Issuer {
    key: ring::signature::Ed25519KeyPair,
    folder: tempfile::TempDir,
}

impl Issuer {
    fn new() -> Self {
        let document = ring::signature::Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new()).unwrap();
        let issuer =
            Self { key: ring::signature::Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap(), folder: tempfile::tempdir().unwrap() };
        issuer.publish(&[&issuer]);
        issuer
    }

    fn jwk(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.key.public_key().as_ref());
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": x, "x": x })
    }

    fn publish(&self, keys: &[&Self]) {
        let set = json!({ "keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>() });
        std::fs::write(self.folder.path().join("next"), set.to_string()).unwrap();
        std::fs::rename(self.folder.path().join("next"), self.folder.path().join("jwks.json")).unwrap();
    }

    fn settings(&self) -> String {
        let file = self.folder.path().join("jwks.json");
        format!("auth.jwt=[{{ issuer: 'https://id.example', jwksFrom: {{ file: '{}' }}, groupsClaim: groups }}]", file.display())
    }

    fn token(&self, subject: &str, seconds: u64) -> String {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let claims = json!({ "iss": "https://id.example", "aud": "dbx", "sub": subject, "exp": now + seconds, "groups": ["ops"] });
        let header = json!({ "alg": "EdDSA", "kid": self.jwk()["kid"] });
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(signed.as_bytes()).as_ref());
        format!("{signed}.{signature}")
    }
}

#[test]
fn tokens_of_an_issuer_are_taken_and_end() {
    let (issuer, next) = (Issuer::new(), Issuer::new());
    let grants = r#"auth.grants=[{ to: ["jwt:alice"], access: [read] }, { to: ["group:ops"], access: [write] }]"#;
    let app = App::with(&["auth.mode=required", &issuer.settings(), grants]);
    let alice = bearer(&app, &issuer.token("alice", 600));
    for _ in 0..3 {
        let me = alice.get("/api/v1/whoami").json()["result"].clone();
        assert_eq!((&me["identity"], &me["groups"]), (&json!("jwt:alice"), &json!(["group:ops"])));
        assert_eq!(alice.put("strings/a", r#"{"value":"1"}"#).status, 200);
        assert_eq!(alice.get("strings/a").status, 200);
    }
    let bob = bearer(&app, &issuer.token("bob", 600));
    assert_eq!((bob.put("strings/a", r#"{"value":"1"}"#).status, bob.get("strings/a").status), (200, 403));
    for (token, detail) in [
        (tampered(&issuer.token("alice", 600)), "the token's signature is not right"),
        (next.token("alice", 600), "the token's key (kid) is none of its issuer's"),
    ] {
        let response = bearer(&app, &token).get("strings/a");
        assert_eq!((response.status, response.json()["detail"].as_str().unwrap()), (401, detail));
    }
    // Keys are rotated: both are taken, then the new one alone. One that was seen may be believed for a minute.
    issuer.publish(&[&issuer, &next]);
    let by_next = bearer(&app, &next.token("alice", 600));
    until("the new key", SOON, || (by_next.get("strings/a").status == 200).then_some(()));
    assert_eq!(bearer(&app, &issuer.token("alice", 601)).get("strings/a").status, 200);
    issuer.publish(&[&next]);
    let mut seconds = 602;
    until("the end of the old key", SOON, || {
        seconds += 1;
        (bearer(&app, &issuer.token("alice", seconds)).get("strings/a").status == 401).then_some(())
    });
    assert_eq!(by_next.get("strings/a").status, 200);
}
