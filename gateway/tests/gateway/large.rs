//! Octets: ranges, HEAD, and large values that keep nobody waiting and cost little memory.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use crate::support::{App, Client};

fn octets(client: &Client) -> Client {
    client.with("Accept", "application/octet-stream").with("Content-Type", "application/octet-stream")
}

#[test]
fn a_part_of_a_value_can_be_read() {
    let app = App::start();
    let client = octets(&app.anonymous());
    // Short values are read whole and cut, long ones are cut by the server; nobody can tell.
    for size in [10usize, 200_000] {
        let value: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        client.put("strings/a", &value);
        let whole = client.get("strings/a");
        assert_eq!((whole.status, &whole.body, whole.header("accept-ranges")), (200, &value, Some("bytes")));
        for (range, part) in
            [("bytes=0-0", 0..1), ("bytes=2-5", 2..6), ("bytes=7-", 7..size), ("bytes=-3", size - 3..size), ("bytes=5-999999", 5..size)]
        {
            let response = client.with("Range", range).get("strings/a");
            let content_range = format!("bytes {}-{}/{size}", part.start, part.end - 1);
            assert_eq!((response.status, response.header("content-range")), (206, Some(&*content_range)), "{range}");
            assert_eq!(response.body, value[part], "{range}");
        }
        for range in [format!("bytes={size}-"), "bytes=-0".to_owned()] {
            let response = client.with("Range", &range).get("strings/a");
            response.fails(416, "range_not_satisfiable", "Range");
            assert_eq!(response.header("content-range"), Some(&*format!("bytes */{size}")));
        }
        for range in ["bytes=5-4", "bytes=0-1,3-4", "items=0-1", "nonsense"] {
            assert_eq!(client.with("Range", range).get("strings/a").body, value, "{range}");
        }
        assert_eq!(client.with("Range", "bytes=0-1").with("If-Range", "\"x\"").get("strings/a").body, value);
        let head = client.send("HEAD", "strings/a", None);
        assert_eq!(
            (head.status, head.header("content-length"), head.header("accept-ranges")),
            (200, Some(&*size.to_string()), Some("bytes"))
        );
    }
    client.with("Range", "bytes=0-1").get("strings/missing").fails(404, "key_not_found", "");
    assert_eq!(client.send("HEAD", "strings/missing", None).status, 404);
    app.redis.line("RPUSH l 1");
    client.get("strings/l").fails(409, "wrong_type", "");
    client.put("strings/empty", b"");
    assert_eq!((client.get("strings/empty").status, client.with("Range", "bytes=0-").get("strings/empty").status), (200, 416));
}

#[test]
fn what_is_too_large_is_refused_before_it_is_sent() {
    let app = App::with(&["limits.maxResultBytes=2MiB", "limits.maxValueBytes=3MiB"]);
    let client = octets(&app.anonymous());
    let value = vec![b'x'; 3 << 20];
    client.put("strings/a", &value).is("OK");
    client.get("strings/a").fails(413, "result_too_large", "");
    assert_eq!(client.send("HEAD", "strings/a", None).header("content-length"), Some("3145728"));
    let part = client.with("Range", "bytes=1000000-2999999").get("strings/a");
    assert_eq!((part.status, part.body.len()), (206, 2_000_000));
    client.put("strings/a", vec![b'x'; (3 << 20) + 1]).fails(413, "value_too_large", "value");
    client.put("strings/a", vec![b'x'; (16 << 20) + 1]).fails(413, "body_too_large", "");
}

#[test]
fn nobody_waits_behind_a_large_value() {
    const SIZE: usize = 100 << 20;
    let app = App::with(&[
        "limits.maxBodyBytes=128MiB",
        "limits.maxValueBytes=128MiB",
        "limits.maxResultBytes=128MiB",
        "limits.callTimeout=20s",
        "workers=1",
    ]);
    let client = octets(&app.anonymous());
    app.redis.line("SET small 1");
    let value = vec![b'v'; SIZE];
    let before = app.gateway.resident_kib();
    let (done, mut peak) = (AtomicBool::new(false), 0);
    let slowest = thread::scope(|scope| {
        let small = scope.spawn(|| {
            let client = app.anonymous();
            let (mut connection, request) = (client.connect(), client.request("GET", "strings/small", None));
            let mut times = Vec::new();
            while !done.load(Relaxed) {
                let started = Instant::now();
                assert_eq!(connection.exchange(&request).unwrap().status, 200);
                times.push(started.elapsed());
            }
            times.sort();
            (times[times.len() / 2], times[times.len() * 99 / 100], times[times.len() - 1], times.len())
        });
        let watch = scope.spawn(|| {
            let mut peak = 0;
            while !done.load(Relaxed) {
                peak = peak.max(app.gateway.resident_kib());
                thread::sleep(Duration::from_millis(2));
            }
            peak
        });
        client.put("strings/large", &value).is("OK");
        for _ in 0..3 {
            let response = client.get("strings/large");
            assert!(response.status == 200 && response.body == value);
        }
        done.store(true, Relaxed);
        peak = watch.join().unwrap();
        small.join().unwrap()
    });
    let (median, p99, most, count) = slowest;
    println!(
        "{count} small calls beside 100 MiB: median {median:?}, p99 {p99:?}, slowest {most:?}; memory {before} KiB, at most {peak} KiB"
    );
    assert!((peak - before) << 10 < 3 * SIZE as u64, "{before} KiB became {peak} KiB");
}

#[test]
fn large_json_is_read_and_written_as_any() {
    let app = App::with(&["limits.maxResultBytes=4MiB"]);
    let client = app.anonymous();
    let value = "v\"é".repeat(700_000);
    let quoted = serde_json::to_string(&value).unwrap();
    let set = format!(r#"{{"key":"a","value":{quoted}}}"#);
    let answer = format!(r#"{{"result":{quoted}}}"#);
    client.post("set", &set).is(r#"{"result":"OK"}"#);
    client.with("Idempotency-Key", "1").post("set", &set).is(r#"{"result":"OK"}"#);
    client.put("strings/a", format!(r#"{{"value":{quoted}}}"#)).is(r#"{"result":"OK"}"#);
    client.post("get", r#"{"key":"a"}"#).is(&answer);
    client.get("strings/a").is(&answer);
    client.post("raw", r#"{"command":["GET","a"]}"#).is(&answer);
    let get = r#"{"op":"get","args":{"key":"a"}}"#;
    client.post("pipeline", format!(r#"{{"calls":[{get}]}}"#)).is(&format!(r#"{{"result":[{answer}]}}"#));
    client.post("pipeline", format!(r#"{{"calls":[{{"op":"set","args":{set}}}]}}"#)).is(r#"{"result":[{"result":"OK"}]}"#);
    // What is wrong is told from there, too.
    client.post("set", format!("{set}x")).fails(400, "malformed_json", "");
    client.post("set", format!(r#"{{"kye":{quoted}}}"#)).fails(400, "unknown_argument", "kye");
    app.redis.run(&[b"SET", b"octets", &vec![0xff; 2 << 20]]);
    client.post("get", r#"{"key":"octets"}"#).fails(422, "not_utf8", "");
    app.redis.run(&[b"SET", b"larger", &vec![b'x'; (4 << 20) + 1]]);
    client.post("get", r#"{"key":"larger"}"#).fails(413, "result_too_large", "");
}
