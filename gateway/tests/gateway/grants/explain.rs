//! `dbx-gateway explain` says what the gateway does.

use std::{
    fs,
    process::{Command, Output},
};

use serde_json::json;

use crate::support::{Gateway, Keys, Redis};

/// Explains a call with a configuration.
fn explain(config: &str, arguments: &[&str]) -> (i32, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.yaml");
    fs::write(&file, config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_dbx-gateway"));
    let Output { status, stdout, stderr } =
        command.args(["explain", "--config"]).arg(&file).args(arguments).current_dir(&folder).env_clear().output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

#[test]
fn what_is_explained_is_what_happens() {
    let redis = Redis::start();
    let mut keys = Keys::new();
    let web = keys.add("web", &["grants: [{ access: [read, write], keys: ['cart:*'] }]"]);
    keys.add("late", &["expires: 2026-01-02T00:00:00Z", "grants: [{ access: [read] }]"]);
    keys.add("two", &["grants: [{ access: [read] }]"]);
    keys.add("two", &["grants: [{ access: [write] }]"]);
    let grants = "[{ to: ['key:web'], access: [+@hash] }, { to: ['key:web'], effect: deny, access: [hdel] }]";
    let gateway = {
        let [mode, source] = keys.settings();
        Gateway::start(&redis, &[&mode, &source, &format!("auth.grants={grants}")])
    };
    let client = gateway.anonymous().with("Authorization", &format!("Bearer {web}"));
    let config = format!(
        "databases: [{{ name: redis, redis: {{ url: '{}' }} }}]\nauth: {{ mode: required, keysFrom: [{{ file: '{}' }}], grants: {grants} }}\n",
        redis.url(),
        keys.path().display()
    );
    for (op, args, by) in [
        ("get", json!({ "key": "cart:1" }), "by: auth.keysFrom[0] key "),
        ("get", json!({ "key": "other" }), "not allowed by any of: auth.grants[0], auth.grants[1], auth.keysFrom[0] key "),
        ("hset", json!({ "key": "other", "fields": { "a": "1" } }), "by: auth.grants[0]\nsent to `redis`: HSET other a 1\n"),
        ("hdel", json!({ "key": "other", "fields": ["a"] }), "by: auth.grants[1]\n"),
        ("raw", json!({ "command": ["HDEL", "other", "a"] }), "by: auth.grants[1]\n"),
        ("raw", json!({ "command": ["SET", "cart:2", "a b"] }), "sent to `redis`: SET cart:2 \"a b\"\n"),
        ("eval", json!({ "script": "return 1" }), "refused: "),
        ("config_get", json!({ "parameters": ["*"] }), "refused: no grant allows `config_get`"),
    ] {
        let call = json!({ "op": op, "args": args }).to_string();
        let (code, out, err) = explain(&config, &["--as", "key:web", "--call", &call]);
        let status = client.post(op, args.to_string()).status;
        assert_eq!((code, err.as_str()), (i32::from(status != 200), ""), "{call}: {status} {out}");
        assert_eq!(status, if code == 0 { 200 } else { 403 }, "{call}");
        assert!(out.contains(by), "{call}: {out}");
    }
    let get = r#"{"op":"get","args":{"key":"a"}}"#;
    for (arguments, code, words) in [
        (&["--as", "anonymous", "--call", get][..], 1, "refused: who shows no credential"),
        (&["--as", "jwt:x", "--call", get], 1, "no grant is about `jwt:x`"),
        (&["--as", "key:late", "--call", get], 0, "note: the key is expired"),
        (&["--as", "key:nobody", "--call", get], 2, "no file of keys has the key `nobody`"),
        (&["--as", "key:two", "--call", get], 2, "--id"),
        (&["--as", "key:web", "--call", "{}"], 2, "--call"),
        (&["--as", "key:web", "--call", r#"{"op":"get","args":{}}"#], 2, "key"),
        (&["--as", "key:web"], 2, "--call"),
        (&["--as", "key:web", "--call", get, "--set", "auth.mode=nonsense"], 2, "auth.mode"),
    ] {
        let (found, out, err) = explain(&config, arguments);
        assert_eq!(found, code, "{arguments:?}: {out} {err}");
        assert!(if code == 2 { &err } else { &out }.contains(words), "{arguments:?}: {out} {err}");
    }
}
