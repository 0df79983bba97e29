//! Nothing that a gateway writes or answers holds a secret, and nothing that it writes of its own a key or a value: everything is
//! gathered while calls of every kind are made, and looked through.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use base64::Engine;
use serde_json::{Value, json};

use crate::support::{App, Client, Gateway, Keys, Redis, SOON, until};

/// Each can be found in any text, and nothing else is like it.
const PASSWORD: &str = "s3cretpassw0rd";
const WRONG_TOKEN: &str = "dbx_t0kenofmine_0123456789";
const QUERY_TOKEN: &str = "quer1edt0ken";
const KEY: &str = "k3yofsomebody";
const VALUE: &str = "v4lueofsomebody";

/// Everything that came out, by where.
#[derive(Default)]
struct Written(Vec<(String, String)>);

impl Written {
    fn add(&mut self, place: &str, text: impl AsRef<[u8]>) {
        self.0.push((place.to_owned(), String::from_utf8_lossy(text.as_ref()).into_owned()));
    }

    #[track_caller]
    fn holds_none_of(&self, words: &[&str]) {
        for (place, text) in &self.0 {
            for word in words {
                let coded = base64::engine::general_purpose::STANDARD.encode(word);
                assert!(!text.contains(word) && !text.contains(&coded), "{word} is in {place}:\n{text}");
            }
        }
    }
}

/// A request of any kind; what it answers is kept unless it is the client's own.
fn ask(client: &Client, answers: &mut Written, method: &str, path: &str, body: Option<&str>) -> u16 {
    let response = client.send(method, path, body.map(str::as_bytes));
    if response.status >= 400 {
        answers.add(&format!("the answer to {method}"), response.text());
    }
    answers.add(&format!("the headers of the answer to {method}"), format!("{:?}", response.headers));
    response.status
}

fn call_in_every_way(app: &App, token: &str, answers: &mut Written) {
    let client = app.anonymous().with("Authorization", &format!("Bearer {token}")).with("Cookie", &format!("session={token}"));
    let strings = format!("strings/{KEY}");
    let mut ask = |client: &Client, method: &str, path: &str, body: Option<&str>| ask(client, answers, method, path, body);
    // What is good.
    let value = json!({ "value": VALUE }).to_string();
    assert_eq!(ask(&client, "PUT", &strings, Some(&value)), 200);
    assert_eq!(ask(&client, "GET", &strings, None), 200);
    let named = json!({ "key": KEY }).to_string();
    assert_eq!(ask(&client, "POST", "get", Some(&named)), 200);
    assert_eq!(ask(&client, "POST", "config_get", Some(r#"{"parameters":["maxmemory"]}"#)), 200);
    let calls = json!({ "calls": [{ "op": "get", "args": { "key": KEY } }, { "op": "incr", "args": { "key": KEY } }] }).to_string();
    assert_eq!(ask(&client, "POST", "pipeline", Some(&calls)), 200);
    assert_eq!(ask(&client, "POST", "raw", Some(&json!({ "command": ["GET", KEY] }).to_string())), 200);
    let transaction = json!({ "watch": [{ "key": KEY, "equals": VALUE }], "calls": [{ "op": "get", "args": { "key": KEY } }] });
    assert_eq!(ask(&client, "POST", "transaction", Some(&transaction.to_string())), 200);
    assert_eq!(ask(&client.with("Idempotency-Key", WRONG_TOKEN), "PUT", &strings, Some(&value)), 200);
    assert_eq!(ask(&app.anonymous(), "GET", &format!("{strings}?token={token}"), None), 200);
    // What is refused, and what is nonsense.
    assert_eq!(ask(&client, "GET", "strings/elsewhere", None), 403);
    assert_eq!(ask(&client.with("Origin", "https://elsewhere"), "GET", &strings, None), 403);
    for credential in [format!("Bearer {WRONG_TOKEN}"), format!("Bearer {token}0"), format!("Basic {token}"), token.to_owned()] {
        assert_eq!(ask(&app.anonymous().with("Authorization", &credential), "GET", &strings, None), 401);
    }
    for query in [QUERY_TOKEN.to_owned(), format!("{token}0"), format!("{token}&token={token}")] {
        assert!(ask(&app.anonymous(), "GET", &format!("{strings}?token={query}"), None) >= 400);
    }
    assert_eq!(ask(&client, "POST", "lpush", Some(&json!({ "key": KEY, "elements": [VALUE] }).to_string())), 409);
    assert_eq!(ask(&client, "POST", "incr", Some(&named)), 422);
    for path in [
        format!("{strings}?token={QUERY_TOKEN}"),
        format!("/api/v1/redis/{KEY}?token={QUERY_TOKEN}"),
        format!("/api/v1/{KEY}/{VALUE}"),
        format!("/redis://user:{PASSWORD}@host/{KEY}"),
        format!("/api/v1/redis:{PASSWORD}@host/strings/{KEY}"),
        format!("/{KEY}/{PASSWORD}"),
    ] {
        assert!(ask(&client, "GET", &path, None) >= 400, "{path}");
        assert!(ask(&client, "POST", &path, Some(&format!("{{\"{VALUE}\""))) >= 400, "{path}");
    }
    for body in [format!("{{\"{VALUE}\""), format!("[\"{VALUE}\"]"), VALUE.to_owned()] {
        for word in ["get", "pipeline", "raw", "transaction"] {
            assert!(ask(&client, "POST", word, Some(&body)) >= 400, "{word} {body}");
        }
    }
    ask(&client, "POST", "raw", Some(&json!({ "command": ["AUTH", PASSWORD] }).to_string()));
    // Over a socket, where what comes after the opening has no headers.
    let mut socket = app.anonymous().with("Sec-WebSocket-Protocol", &format!("dbx.v1, dbx.bearer.{token}")).socket("ws");
    for frame in [
        json!({ "id": 1, "op": "get", "args": { "key": KEY } }),
        json!({ "id": 2, "op": "set", "args": { "key": KEY, "value": VALUE } }),
        json!({ "id": 3, "op": "incr", "args": { "key": KEY } }),
        json!({ "id": 4, "op": "set", "args": { "key": KEY, "vlaue": VALUE } }),
        json!({ "id": 5, "op": PASSWORD }),
        json!({ "id": 6, "op": "subscribe", "args": { "channels": [KEY] } }),
        json!({ "id": 7, "op": "publish", "args": { "channel": "elsewhere", "message": VALUE } }),
    ] {
        let answer = socket.call(frame);
        if !answer["error"].is_null() {
            answers.add("an answer over a socket", answer.to_string());
        }
    }
    socket.send(&format!("{{{VALUE}"));
    let (_, reason) = socket.closed();
    answers.add("the reason of a close", reason);
    for shown in [WRONG_TOKEN.to_owned(), format!("{token}0")] {
        let mut socket = app.anonymous().socket("ws");
        let answer = socket.call(json!({ "id": 1, "op": "authenticate", "args": { "token": shown } }));
        answers.add("an answer over a socket", answer.to_string());
        answers.add("the reason of a close", socket.closed().1);
    }
}

fn run(folder: &Path, arguments: &[&str], settings: &[String]) -> (bool, Vec<u8>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dbx-gateway"));
    command.args(arguments).current_dir(folder).env_clear().stdin(Stdio::null());
    settings.iter().for_each(|setting| _ = command.args(["--set", setting]));
    let output = command.output().unwrap();
    (output.status.success(), [output.stdout, output.stderr].concat())
}

#[test]
fn nothing_that_is_written_holds_a_secret_a_key_or_a_value() {
    for keys in ["hash", "none", "plain"] {
        let folder = tempfile::tempdir().unwrap();
        let (audit, secret) = (folder.path().join("audit"), folder.path().join("password"));
        fs::write(&secret, format!("{PASSWORD}\n")).unwrap();
        let mut book = Keys::new();
        let token = book.add("web", &["grants: [{ access: [all], keys: ['k3y*'], channels: ['k3y*', elsewhere] }, { access: [admin] }]"]);
        let redis = Redis::with(&["--requirepass", PASSWORD]);
        let settings = [
            format!("audit.file={}", audit.display()),
            format!("audit.keys={keys}"),
            "audit.calls=all".to_owned(),
            "log.level=trace".to_owned(),
            "drain.propagation=0s".to_owned(),
            "auth.mode=required".to_owned(),
            "auth.tokenInQuery=true".to_owned(),
            book.source(),
            format!("databases.0.redis.passwordFrom.file={}", secret.display()),
        ];
        let output = folder.path().join("output");
        let gateway = Gateway::launch_with(&redis.url(), &settings.each_ref().map(String::as_str), |command| {
            command.stdout(fs::File::create(&output).unwrap());
        });
        until("readiness", SOON, || gateway.is_ready().then_some(()));
        let mut app = App { gateway, redis };
        let (mut written, mut answers) = (Written::default(), Written::default());
        call_in_every_way(&app, &token, &mut answers);
        written.add("the metrics", app.gateway.operations("/metrics").unwrap().body);
        written.add("the readiness", app.gateway.operations("/readyz?verbose").unwrap().body);
        app.gateway.signal("TERM");
        assert!(app.gateway.wait(SOON).success());
        written.add("standard output", fs::read(&output).unwrap());
        written.add("standard error", app.gateway.log());

        let url = format!("databases.0.redis.url={}", app.redis.url());
        let (is_valid, shown) = run(folder.path(), &["check"], &[&settings[..], &[url.clone(), "databases.0.name=redis".into()]].concat());
        assert!(is_valid, "{}", String::from_utf8_lossy(&shown));
        written.add("`check`", shown);
        for mistake in [
            format!("databases.0.redis.url=redis:/user:{PASSWORD}@host"),
            format!("databases.0.redis.url=rediss//:{PASSWORD}@host"),
            format!("databases.0.redis.url=http://user:{PASSWORD}@host"),
            format!("databases.0.redis.url=redis://user:{PASSWORD}@host:port"),
            format!("databases.0.redis.url=redis://user:{PASSWORD}@"),
            format!("databases.0.redis.passwordFrom={PASSWORD}"),
            format!("databases.0.redis.password={PASSWORD}"),
        ] {
            for command in [&["check"][..], &[]] {
                let (is_valid, told) = run(folder.path(), command, &[mistake.clone(), "databases.0.name=redis".into()]);
                assert!(!is_valid, "{mistake}");
                written.add("what a mistake is told", told);
            }
        }

        let recorded = fs::read_to_string(&audit).unwrap();
        let records: Vec<Value> = recorded.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(records.len() >= 20, "{recorded}");
        assert_eq!(recorded.contains(KEY), keys == "plain");
        written.holds_none_of(&[KEY, VALUE]);
        answers.holds_none_of(&[VALUE]);
        written.add("the audit log", recorded);
        // The id of a key is no secret.
        let secret = token.rsplit('_').next().unwrap();
        for all in [&written, &answers] {
            all.holds_none_of(&[PASSWORD, WRONG_TOKEN, QUERY_TOKEN, &token, secret]);
        }
        let values = Written(written.0.split_off(written.0.len() - 1));
        values.holds_none_of(&[VALUE]);
    }
}
