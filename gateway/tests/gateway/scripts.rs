//! Scripts of clients' own: loaded once, and run whatever the server has forgotten since.

use std::thread;

use serde_json::json;

use crate::support::{App, Client, SOON, until};

const CLIENTS: usize = 16;
const CALLS: usize = 25;
const COUNT: &str = "return redis.call('INCRBY', KEYS[1], ARGV[1])";

fn load(client: &Client, script: &str) -> String {
    client.post("scripts", json!({ "script": script }).to_string()).json()["result"].as_str().expect("a hash").to_owned()
}

/// How often the server has carried out a command.
fn ran(app: &App, command: &str) -> u64 {
    let stats = app.redis.line("INFO commandstats");
    let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
}

#[test]
fn a_script_is_run_whatever_the_server_has_forgotten() {
    let mut app = App::start();
    let client = app.anonymous();
    let count = load(&client, COUNT);
    let read = load(&client, "return redis.call('GET', KEYS[1])");
    let arguments = r#"{"keys":["n"],"args":["1"]}"#;
    let by_name = json!({ "sha1": count.to_uppercase(), "keys": ["n"], "args": [1] }).to_string();
    let get = json!({ "sha1": read, "keys": ["n"] }).to_string();
    for round in 0..3 {
        client.post(&format!("scripts/{count}"), arguments).is(&format!("{{\"result\":{}}}", 2 * round + 1));
        app.redis.line("SCRIPT FLUSH");
        client.post("evalsha", &by_name).is(&format!("{{\"result\":{}}}", 2 * round + 2));
        app.redis.line("SCRIPT FLUSH");
        client.post("evalsha_ro", &get).is(&format!("{{\"result\":\"{}\"}}", 2 * round + 2));
    }
    // In base64 it is the same script.
    let encoded = client.post("script_load?encoding=base64", r#"{"script":"cmV0dXJuIDc="}"#).json()["result"].clone();
    app.redis.line("SCRIPT FLUSH");
    client.post("evalsha", json!({ "sha1": encoded }).to_string()).is(r#"{"result":7}"#);
    app.redis.kill();
    app.redis.start_again();
    until("service", SOON, || (client.get("keys/n").status == 404 && app.gateway.is_connected()).then_some(()));
    for _ in 0..8 {
        assert_eq!(client.post(&format!("scripts/{count}"), arguments).status, 200);
        app.redis.line("SCRIPT FLUSH");
    }
    assert_eq!(app.redis.line("GET n"), "8");
}

#[test]
fn what_the_gateway_has_not_seen_is_told() {
    let app = App::with(&["limits.scriptCacheBytes=64B"]);
    let client = app.anonymous();
    let gone = |sha: &str| {
        let problem = client.post(&format!("scripts/{sha}"), "{}").fails(404, "script_not_found", "");
        assert!(problem["detail"].as_str().unwrap().contains("script_load"), "{problem}");
    };
    gone(&app.redis.run(&[b"SCRIPT", b"LOAD", b"return 1"]).replace('0', "1"));
    gone("nonsense");
    // What is not kept is in the server's hands alone.
    let long = load(&client, &format!("return '{}'", "x".repeat(64)));
    assert_eq!(client.post(&format!("scripts/{long}"), "{}").status, 200);
    app.redis.line("SCRIPT FLUSH");
    gone(&long);
    let (one, two) = (load(&client, &format!("return '{}'", "1".repeat(40))), load(&client, &format!("return '{}'", "2".repeat(40))));
    app.redis.line("SCRIPT FLUSH");
    gone(&one);
    assert_eq!(client.post(&format!("scripts/{two}"), "{}").status, 200);
}

#[test]
fn a_script_that_has_run_is_not_run_again() {
    let app = App::start();
    let client = app.anonymous();
    for message in ["NOSCRIPT mine", "NOSCRIPT No matching script at all"] {
        let script = format!("redis.call('INCR', KEYS[1]) return redis.error_reply('{message}')");
        let sha = load(&client, &script);
        client.post(&format!("scripts/{sha}"), r#"{"keys":["n"]}"#).fails(404, "script_not_found", "");
    }
    assert_eq!(app.redis.line("GET n"), "2");
}

#[test]
fn no_call_is_lost_or_made_twice_while_scripts_are_flushed() {
    let app = App::start();
    let sha = load(&app.anonymous(), COUNT);
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (client, sha, redis) = (app.anonymous(), &sha, &app.redis);
            scope.spawn(move || {
                for _ in 0..CALLS {
                    if number == 0 {
                        redis.line("SCRIPT FLUSH");
                    }
                    assert_eq!(client.post(&format!("scripts/{sha}"), r#"{"keys":["n"],"args":["1"]}"#).status, 200);
                }
            });
        }
    });
    assert_eq!(app.redis.line("GET n"), (CLIENTS * CALLS).to_string());
}

#[test]
fn recipes_are_sent_by_their_hash() {
    let app = App::start();
    let client = app.anonymous();
    for round in 1..=20 {
        client.post("increment_with_bounds", r#"{"key":"n"}"#).is(&format!("{{\"result\":{{\"value\":{round},\"applied\":1}}}}"));
    }
    assert_eq!((ran(&app, "evalsha"), ran(&app, "eval")), (20, 1));
}

#[test]
fn functions_that_are_gone_are_told() {
    let app = App::start();
    let client = app.anonymous();
    let library =
        "#!lua name=lib\nredis.register_function{function_name='f', callback=function(keys, args) return args[1] end, flags={'no-writes'}}";
    let body = json!({ "function_code": library }).to_string();
    client.post("functions", &body).is(r#"{"result":"lib"}"#);
    let calls = [("functions/f", r#"{"args":["1"]}"#), ("fcall_ro", r#"{"function":"f","args":["1"]}"#)];
    for (path, arguments) in calls {
        client.post(path, arguments).is(r#"{"result":"1"}"#);
    }
    app.redis.line("FUNCTION FLUSH");
    for (path, arguments) in calls {
        let problem = client.post(path, arguments).fails(404, "script_not_found", "");
        assert!(problem["detail"].as_str().unwrap().contains("function_load"), "{problem}");
    }
}
