//! What each recipe promises, held to it by many clients at once; and that none needs a script that the server remembers.

use std::{
    collections::BTreeSet,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{App, Client};

const CLIENTS: usize = 16;
const CALLS: usize = 25;

/// Makes calls from several clients at once and gathers their results. `call` is told which client it is, and which call of it.
fn race(app: &App, call: impl Fn(&Client, usize, usize) -> Value + Sync) -> Vec<Value> {
    thread::scope(|scope| {
        let call = &call;
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let client = app.anonymous();
                scope.spawn(move || (0..CALLS).map(|at| call(&client, number, at)).collect::<Vec<_>>())
            })
            .collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    })
}

fn call(client: &Client, name: &str, arguments: &Value) -> Value {
    let response = client.post(name, arguments.to_string());
    assert_eq!(response.status, 200, "{name}: {}", response.text());
    response.json()["result"].clone()
}

fn get(client: &Client, key: &str) -> Value {
    call(client, "get", &json!({ "key": key }))
}

fn count(results: &[Value], path: &str, value: i64) -> usize {
    results.iter().filter(|result| result.pointer(path) == Some(&value.into())).count()
}

#[test]
fn of_those_who_compare_one_sets() {
    let app = App::start();
    let client = app.anonymous();
    let results = race(&app, |client, number, _| {
        call(client, "compare_and_set", &json!({ "key": "lock", "value": number, "absent": true, "px": 60_000 }))
    });
    assert_eq!(count(&results, "", 1), 1);
    assert_eq!(call(&client, "persist", &json!({ "key": "lock" })), 1);

    // Every client adds to a counter without INCR; none is lost.
    call(&client, "set", &json!({ "key": "n", "value": 0 }));
    race(&app, |client, _, _| {
        loop {
            let old = get(client, "n");
            let new = old.as_str().unwrap().parse::<u64>().unwrap() + 1;
            if call(client, "compare_and_set", &json!({ "key": "n", "value": new, "equals": old })) == 1 {
                return new.into();
            }
        }
    });
    assert_eq!(get(&client, "n"), (CLIENTS * CALLS).to_string());
    call(&client, "compare_and_set", &json!({ "key": "n", "value": "a", "equals": "b" }));
    assert_eq!(get(&client, "n"), (CLIENTS * CALLS).to_string());

    // Bytes are compared as they are, and a time to live is kept on request.
    client.post("set?encoding=base64", r#"{"key":"Yg==","value":"/wAB","ex":60}"#);
    let args = r#"{"key":"Yg==","value":"AA==","equals":"/wAB","keepttl":true}"#;
    assert_eq!(client.post("compare_and_set?encoding=base64", args).json()["result"], 1);
    assert!(call(&client, "ttl", &json!({ "key": "b" })).as_i64().unwrap() > 0);
    client.post("compare_and_set", r#"{"key":"b","value":"1"}"#).fails(400, "missing_argument", "equals");
    client.post("compare_and_set", r#"{"key":"c","value":"1","absent":true,"ex":0}"#).fails(422, "redis_error", "");
    assert_eq!(get(&client, "c"), Value::Null);
}

#[test]
fn of_those_who_compare_one_deletes() {
    let app = App::start();
    let client = app.anonymous();
    call(&client, "set", &json!({ "key": "lock", "value": "mine" }));
    assert_eq!(call(&client, "compare_and_delete", &json!({ "key": "lock", "equals": "another's" })), 0);
    let results = race(&app, |client, _, _| call(client, "compare_and_delete", &json!({ "key": "lock", "equals": "mine" })));
    assert_eq!(count(&results, "", 1), 1);
    assert_eq!(get(&client, "lock"), Value::Null);
}

#[test]
fn a_counter_stays_within_its_bounds() {
    let app = App::start();
    let client = app.anonymous();
    // More is asked for than there is, and some is brought back.
    call(&client, "set", &json!({ "key": "stock", "value": 100 }));
    let results = race(&app, |client, number, _| {
        let increment = if number == 0 { 1 } else { -1 };
        call(client, "increment_with_bounds", &json!({ "key": "stock", "increment": increment, "min": 0, "max": 100 }))
    });
    assert!(results.iter().all(|result| (0..=100).contains(&result["value"].as_i64().unwrap())));
    assert!(count(&results, "/applied", 0) > 0);
    assert!(get(&client, "stock").as_str().unwrap().parse::<u64>().unwrap() <= 100);

    // To the last of 64 bits.
    let (most, least) = (i64::MAX, i64::MIN);
    for (value, increment, min, max, expected) in [
        (most - 1, 1, least, most, (most, 1)),
        (most - 1, 1, least, most - 1, (most - 1, 0)),
        (most - 2, 1, least, most - 1, (most - 1, 1)),
        (least + 1, -1, least, most, (least, 1)),
        (least + 1, -1, least + 1, most, (least + 1, 0)),
        (most, least, -1, -1, (-1, 1)),
        (1_000_000_000, -1, 999_999_999, most, (999_999_999, 1)),
        (999_999_999, 1, least, 999_999_999, (999_999_999, 0)),
        (-1_000_000_001, 1, least, -1_000_000_000, (-1_000_000_000, 1)),
        (5, 0, 6, 7, (5, 0)),
        (most, most, least, most, (most, 0)),
    ] {
        call(&client, "set", &json!({ "key": "n", "value": value }));
        let arguments = json!({ "key": "n", "increment": increment, "min": min, "max": max });
        let result = call(&client, "increment_with_bounds", &arguments);
        assert_eq!(result, json!({ "value": expected.0, "applied": expected.1 }), "{value} {arguments}");
        assert_eq!(get(&client, "n"), expected.0.to_string());
    }
    client.post("increment_with_bounds", json!({ "key": "n", "increment": most }).to_string()).fails(422, "redis_error", "");
    client.post("set", r#"{"key":"n","value":"text"}"#);
    client.post("increment_with_bounds", r#"{"key":"n"}"#).fails(422, "redis_error", "");
}

#[test]
fn a_counter_expires_when_its_first_call_said() {
    let app = App::start();
    let client = app.anonymous();
    let results = race(&app, |client, _, _| call(client, "increment_with_ttl", &json!({ "key": "visits", "ex": 60 })));
    let values: BTreeSet<i64> = results.iter().map(|result| result["value"].as_i64().unwrap()).collect();
    assert_eq!((values.len(), values.last()), (CLIENTS * CALLS, Some(&((CLIENTS * CALLS) as i64))), "each sees another value");
    assert!(results.iter().all(|result| (1..=60_000).contains(&result["ttl"].as_i64().unwrap())));
    // Later calls do not move it, and one that others have made without a time gets one.
    assert!(call(&client, "increment_with_ttl", &json!({ "key": "visits", "ex": 6000 }))["ttl"].as_i64().unwrap() <= 60_000);
    call(&client, "set", &json!({ "key": "old", "value": 5 }));
    let result = call(&client, "increment_with_ttl", &json!({ "key": "old", "increment": -2, "px": 5000 }));
    assert!(result["value"] == 3 && result["ttl"].as_i64().unwrap() > 0, "{result}");
    for wrong in [r#"{"key":"new","ex":0}"#, r#"{"key":"new","px":-1}"#, r#"{"key":"new","ex":9223372036854775807}"#] {
        client.post("increment_with_ttl", wrong).fails(422, "redis_error", "");
    }
    assert_eq!(get(&client, "new"), Value::Null);
}

#[test]
fn many_are_seen_together_or_not_at_all() {
    let app = App::start();
    let client = app.anonymous();
    let keys = ["a", "b", "c", "d"];
    let torn = race(&app, |client, number, at| {
        if number % 2 == 0 {
            let value = format!("{number}:{at}");
            let values: Vec<_> = keys.iter().map(|key| (*key, value.as_str())).collect();
            return call(client, "set_many_with_ttl", &json!({ "values": values, "px": 60_000 }));
        }
        let seen = call(client, "mget", &json!({ "keys": keys }));
        let seen = seen.as_array().unwrap();
        (!seen.iter().all(|value| *value == seen[0])).into()
    });
    assert!(!torn.contains(&true.into()), "some of them were seen without the others");
    assert!(keys.iter().all(|key| call(&client, "pttl", &json!({ "key": key })).as_i64().unwrap() > 0));
    client.post("set_many_with_ttl", r#"{"values":{"x":"1","y":"2"},"ex":-1}"#).fails(422, "redis_error", "");
    assert_eq!(get(&client, "x"), Value::Null);
}

#[test]
fn a_window_has_no_more_than_its_limit() {
    let app = App::start();
    let client = app.anonymous();
    let arguments = json!({ "key": "w", "limit": 50, "window": 60_000 });
    let results = race(&app, |client, _, _| call(client, "limit_sliding_window", &arguments));
    assert_eq!(count(&results, "/allowed", 1), 50);
    assert!(results.iter().all(|result| (result["retry_after"] == 0) == (result["allowed"] == 1)));

    // Wherever it begins. The server's time of a call is between those at which its client asked and had the answer.
    let (started, window) = (Instant::now(), Duration::from_millis(150));
    let now = || started.elapsed().as_micros() as u64;
    let arguments = json!({ "key": "short", "limit": 20, "window": 150 });
    let results = race(&app, |client, _, _| {
        let asked = now();
        let result = call(client, "limit_sliding_window", &arguments);
        let answered = now();
        thread::sleep(Duration::from_millis(result["retry_after"].as_u64().unwrap()));
        if result["allowed"] == 1 { json!([asked, answered]) } else { Value::Null }
    });
    let times: Vec<(u64, u64)> = results.iter().filter_map(|times| Some((times[0].as_u64()?, times[1].as_u64()?))).collect();
    assert!(times.len() > 20, "after a window there is room again: {}", times.len());
    for (begin, _) in &times {
        let within = times.iter().filter(|(asked, answered)| asked >= begin && *answered < begin + 150_000).count();
        assert!(within <= 20, "{within} in a window");
    }
    assert!(call(&client, "zcard", &json!({ "key": "short" })).as_u64().unwrap() <= 20);
    thread::sleep(window + Duration::from_millis(50));
    assert_eq!(call(&client, "exists", &json!({ "keys": ["short"] })), 0);

    let costly = |cost: u64| call(&client, "limit_sliding_window", &json!({ "key": "c", "limit": 10, "window": 60_000, "cost": cost }));
    assert_eq!(costly(11), json!({ "allowed": 0, "remaining": 10, "retry_after": -1 }));
    assert_eq!(costly(7), json!({ "allowed": 1, "remaining": 3, "retry_after": 0 }));
    assert_eq!(costly(4)["allowed"], 0);
    assert_eq!(costly(3)["remaining"], 0);
    client.post("limit_sliding_window", r#"{"key":"c","limit":0,"window":1}"#).fails(422, "redis_error", "");
}

#[test]
fn a_bucket_gives_no_more_than_it_holds_and_gets() {
    let app = App::start();
    let client = app.anonymous();
    let arguments = json!({ "key": "b", "capacity": 50, "refill": 1, "interval": 60_000 });
    let results = race(&app, |client, _, _| call(client, "limit_token_bucket", &arguments));
    assert_eq!(count(&results, "/allowed", 1), 50);

    let arguments = json!({ "key": "fast", "capacity": 10, "refill": 2, "interval": 10 });
    let started = Instant::now();
    let results = race(&app, |client, _, _| call(client, "limit_token_bucket", &arguments));
    let allowed = count(&results, "/allowed", 1);
    let most = 10 + 1 + (started.elapsed().as_millis() / 5) as usize;
    assert!((10..=most).contains(&allowed), "{allowed} of at most {most}");

    let costly = |cost: u64| {
        call(&client, "limit_token_bucket", &json!({ "key": "c", "capacity": 10, "refill": 1, "interval": 1000, "cost": cost }))
    };
    assert_eq!(costly(11), json!({ "allowed": 0, "remaining": 10, "retry_after": -1 }));
    assert_eq!(costly(10), json!({ "allowed": 1, "remaining": 0, "retry_after": 0 }));
    let wait = costly(2)["retry_after"].as_u64().unwrap();
    assert!((1000..=2000).contains(&wait), "{wait}");
    client.post("limit_token_bucket", r#"{"key":"c","capacity":1,"refill":0,"interval":1}"#).fails(422, "redis_error", "");
}

#[test]
fn a_list_of_recent_things_has_each_once() {
    let app = App::start();
    let client = app.anonymous();
    let lengths = race(&app, |client, number, at| {
        let elements = json!([(number * 7 + at) % 30, (number + at) % 30]);
        call(client, "add_unique_and_trim", &json!({ "key": "recent", "maxlen": 20, "elements": elements }))
    });
    assert!(lengths.iter().all(|length| length.as_u64().unwrap() <= 20));
    let list = call(&client, "lrange", &json!({ "key": "recent", "start": 0, "stop": -1 }));
    let list: Vec<&str> = list.as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!((list.len(), list.iter().collect::<BTreeSet<_>>().len()), (20, 20));
    call(&client, "add_unique_and_trim", &json!({ "key": "recent", "maxlen": 3, "elements": ["x", "y", "x"] }));
    assert_eq!(call(&client, "lrange", &json!({ "key": "recent", "start": 0, "stop": 1 })), json!(["x", "y"]));
    client.post("add_unique_and_trim", r#"{"key":"recent","maxlen":0,"elements":["x"]}"#).fails(422, "redis_error", "");
}

#[test]
fn what_is_moved_is_moved_once() {
    let app = App::start();
    let client = app.anonymous();
    let all: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
    call(&client, "rpush", &json!({ "key": "todo", "elements": all }));
    let arguments = json!({ "source": "todo", "destination": "doing", "count": 4, "wherefrom": "left", "whereto": "right" });
    let results = race(&app, |client, _, _| call(client, "pop_many_and_move", &arguments));
    let moved: BTreeSet<&str> = results.iter().flat_map(|result| result.as_array().unwrap()).filter_map(Value::as_str).collect();
    assert_eq!(moved.len(), 1000);
    assert_eq!(results.iter().map(|result| result.as_array().unwrap().len()).sum::<usize>(), 1000);
    assert_eq!(call(&client, "lrange", &json!({ "key": "doing", "start": 0, "stop": -1 })), json!(all));
    assert_eq!(call(&client, "exists", &json!({ "keys": ["todo"] })), 0);
    // Where it cannot go, it stays where it is.
    call(&client, "set", &json!({ "key": "text", "value": "1" }));
    let wrong = r#"{"source":"doing","destination":"text","count":4,"wherefrom":"left","whereto":"right"}"#;
    client.post("pop_many_and_move", wrong).fails(409, "wrong_type", "");
    assert_eq!(call(&client, "llen", &json!({ "key": "doing" })), 1000);
}

#[test]
fn recipes_outlive_the_scripts_of_the_server() {
    let app = App::start();
    let arguments = json!({ "key": "n", "min": 0 });
    race(&app, |client, number, _| {
        if number == 0 {
            return call(client, "script_flush", &json!({}));
        }
        call(client, "increment_with_bounds", &arguments)
    });
    assert_eq!(get(&app.anonymous(), "n"), ((CLIENTS - 1) * CALLS).to_string());
}

#[test]
fn a_hash_is_replaced_as_one() {
    let app = App::start();
    let client = app.anonymous();
    // Each writer stores a hash of its own size; what is read is always one of them, whole.
    let results = race(&app, |client, number, _| {
        let fields: Vec<[String; 2]> = (0..=number).map(|field| [format!("{number}-{field}"), number.to_string()]).collect();
        assert_eq!(client.put("hashes/h", json!({ "fields": fields }).to_string()).json()["result"], number + 1);
        client.get("hashes/h").json()["result"].clone()
    });
    for hash in results {
        let hash = hash.as_object().unwrap();
        let writer = (hash.len() - 1).to_string();
        assert!(hash.values().all(|value| value == writer.as_str()), "{hash:?}");
    }
    let many: Vec<[String; 2]> = (0..5000).map(|field| [field.to_string(), "x".to_owned()]).collect();
    client.put("hashes/h", json!({ "fields": many, "ex": 60 }).to_string()).is(r#"{"result":5000}"#);
    assert_eq!((app.redis.line("HLEN h"), app.redis.line("TTL h")), ("5000".to_owned(), "60".to_owned()));
    client.put("hashes/h?encoding=base64", r#"{"fields":{"/w==":"AA=="}}"#).is(r#"{"result":1}"#);
    client.get("hashes/h?encoding=base64").is(r#"{"result":{"/w==":"AA=="},"encoding":"base64"}"#);
    assert_eq!(app.redis.line("TTL h"), "-1");
    // What is refused has replaced nothing.
    client.put("hashes/h", r#"{"fields":{}}"#).fails(400, "invalid_argument", "fields");
    client.put("hashes/h", r#"{"fields":{"a":"1"},"ex":0}"#).fails(422, "redis_error", "");
    client.put("hashes/h", r#"{"fields":{"a":"1"},"ex":1,"px":1}"#).fails(400, "invalid_argument", "px");
    client.with("If-Match", "*").put("hashes/h", r#"{"fields":{"a":"1"}}"#).fails(400, "invalid_argument", "If-Match");
    assert_eq!(app.redis.line("HLEN h"), "1");
    app.redis.line("SET s 1");
    client.put("hashes/s", r#"{"fields":{"a":"1"}}"#).fails(409, "wrong_type", "");
    assert_eq!(client.send("OPTIONS", "hashes/h", None).header("allow"), Some("DELETE, GET, HEAD, OPTIONS, PATCH, PUT"));
}
