//! Answers in fewer bytes: who gets them, that they hold the same, and what it means for versions.

use std::io::Read;

use crate::support::{App, Client, Response};

fn asking(client: &Client, codings: &str) -> Client {
    client.with("Accept-Encoding", codings)
}

/// The body as it was before it was compressed.
fn plain(response: &Response) -> Vec<u8> {
    match response.header("content-encoding") {
        None => response.body.clone(),
        Some("zstd") => zstd::decode_all(&*response.body).unwrap(),
        Some("gzip") => {
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(&*response.body).read_to_end(&mut plain).unwrap();
            plain
        }
        Some(other) => panic!("{other}"),
    }
}

#[test]
fn json_is_compressed_for_those_who_ask() {
    let app = App::start();
    let client = app.anonymous();
    for (name, length) in [("short", 900), ("medium", 1 << 10), ("long", 3 << 20)] {
        let value: Vec<u8> = (0..length).map(|at: usize| b"abcdefgh"[(at * at / 7) % 8]).collect();
        app.redis.run(&[b"SET", name.as_bytes(), &value]);
        for (asked, coding) in [
            ("gzip", Some("gzip")),
            ("gzip, deflate, br, zstd", Some("zstd")),
            ("zstd;q=0.2, gzip;q=0.8", Some("gzip")),
            ("gzip;q=0", None),
            ("br", None),
        ] {
            let response = asking(&client, asked).get(&format!("strings/{name}"));
            let expected = coding.filter(|_| name != "short");
            assert_eq!(response.header("content-encoding"), expected, "{name} {asked}");
            assert_eq!(plain(&response), client.get(&format!("strings/{name}")).body, "{name} {asked}");
            assert_eq!(response.header("vary").is_some(), length != 900 || response.header("etag").is_some());
            let head = asking(&client, asked).send("HEAD", &format!("strings/{name}"), None);
            let known =
                |response: &Response| ["content-encoding", "content-length", "etag"].map(|name| response.header(name).map(str::to_owned));
            assert_eq!(known(&head), known(&response), "{name} {asked}");
        }
    }
    let asking = asking(&client, "gzip");
    // By name, in a pipeline, of the gateway's own, and as a problem.
    let by_name = asking.post("get", r#"{"key":"medium"}"#);
    assert_eq!((by_name.header("content-encoding"), by_name.header("vary").is_some()), (Some("gzip"), true));
    let calls = serde_json::json!({ "calls": vec![serde_json::json!({ "op": "get", "args": { "key": "medium" } }); 3] }).to_string();
    assert_eq!(plain(&asking.post("pipeline", &calls)), client.post("pipeline", &calls).body);
    assert_eq!(plain(&asking.get("/openapi.json")), client.get("/openapi.json").body);
    // A value as it is stays as it is, whole or in part.
    let raw = asking.with("Accept", "application/octet-stream");
    assert_eq!((raw.get("strings/long").header("content-encoding"), raw.get("strings/long").body.len()), (None, 3 << 20));
    let part = raw.with("Range", "bytes=0-4095").get("strings/long");
    assert_eq!((part.status, part.header("content-encoding"), part.body.len()), (206, None, 4096));
}

#[test]
fn a_version_holds_in_every_coding() {
    let app = App::start();
    let client = app.anonymous();
    app.redis.run(&[b"SET", b"a", "x".repeat(2000).as_bytes()]);
    let etag = |client: &Client| client.get("strings/a").header("etag").unwrap().to_owned();
    let (plain, gzip, zstd) = (etag(&client), etag(&asking(&client, "gzip")), etag(&asking(&client, "zstd")));
    assert!(plain != gzip && gzip != zstd && plain != zstd);
    for tag in [&plain, &gzip] {
        let known = asking(&client, "gzip").with("If-None-Match", tag).get("strings/a");
        assert_eq!((known.status, known.header("etag"), known.body.len()), (304, Some(&**tag), 0));
    }
    // Who does not read a coding does not have what is in it.
    assert_eq!(client.with("If-None-Match", &gzip).get("strings/a").status, 200);
    assert_eq!(asking(&client, "gzip").with("If-None-Match", &zstd).get("strings/a").status, 200);
    client.with("If-Match", &gzip).put("strings/a", r#"{"value":"1"}"#).is(r#"{"result":"OK"}"#);
    client.with("If-Match", &zstd).delete("strings/a").fails(412, "precondition_failed", "If-Match");
}

#[test]
fn bodies_are_not_taken_compressed() {
    let app = App::start();
    let client = app.anonymous();
    for (method, path) in
        [("POST", "set"), ("POST", "pipeline"), ("POST", "raw"), ("POST", "transaction"), ("PUT", "strings/a"), ("PATCH", "keys/a")]
    {
        let response = client.with("Content-Encoding", "gzip").send(method, path, Some(b"{}"));
        response.fails(415, "unsupported_media_type", "Content-Encoding");
    }
    client.with("Content-Encoding", "identity").put("strings/a", r#"{"value":"1"}"#).is(r#"{"result":"OK"}"#);
}
