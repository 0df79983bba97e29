//! Hashes, lists, sets and sorted sets as resources: what is missing, pages, elements named by the path, bytes.

use std::collections::BTreeMap;

use serde_json::json;

use crate::support::App;

#[test]
fn a_hash_is_there_or_missing() {
    let app = App::start();
    let client = app.anonymous();
    client.get("hashes/h").fails(404, "key_not_found", "");
    client.delete("hashes/h").fails(404, "key_not_found", "");
    client.get("hashes/h/fields/f").fails(404, "key_not_found", "");
    client.delete("hashes/h/fields/f").fails(404, "key_not_found", "");
    client.get("hashes/h?field=f").is(r#"{"result":[null]}"#);
    client.get("hashes/h?cursor=0").is(r#"{"result":{},"cursor":"0"}"#);
    client.patch("hashes/h", r#"{"fields":[["b","1"],["a","2"]]}"#).is(r#"{"result":2}"#);
    client.patch("hashes/h", r#"{"fields":{"a":"3"}}"#).is(r#"{"result":0}"#);
    client.get("hashes/h").is(r#"{"result":{"b":"1","a":"3"}}"#);
    client.get("hashes/h?pairs=true").is(r#"{"result":[["b","1"],["a","3"]]}"#);
    client.get("hashes/h?cursor=0&pairs").is(r#"{"result":[["b","1"],["a","3"]],"cursor":"0"}"#);
    client.delete("hashes/h?feild=a").fails(400, "unknown_argument", "feild");
    client.get("hashes/h?cursor=0&field=a").fails(400, "unknown_argument", "cursor");
    app.redis.line("SET s 1");
    client.get("hashes/s").fails(409, "wrong_type", "");
}

#[test]
fn the_path_names_one_element_and_the_body_the_rest_of_it() {
    let app = App::start();
    let client = app.anonymous();
    client.put("hashes/h/fields/a%2Fb", r#"{"value":"1"}"#).is(r#"{"result":1}"#);
    client.put("hashes/h/fields/n?value=2", "{}").is(r#"{"result":1}"#);
    client.with("Content-Type", "application/octet-stream").put("hashes/h/fields/%FF", b"\xfe").is(r#"{"result":1}"#);
    assert_eq!(client.with("Accept", "application/octet-stream").get("hashes/h/fields/%FF").body, b"\xfe");
    client.get("hashes/h/fields/a%2Fb").is(r#"{"result":"1"}"#);
    client.get("hashes/h").fails(422, "not_utf8", "");
    assert_eq!(client.get("hashes/h?encoding=base64").json()["result"]["/w=="], "/g==");
    client.put("hashes/h/fields/f", "{}").fails(400, "missing_argument", "value");
    client.put("hashes/h/fields/f", r#"{"value":null}"#).fails(400, "invalid_argument", "value");
    client.put("hashes/h/fields/f", r#"{"valu":"1"}"#).fails(400, "unknown_argument", "valu");
    client.put("sorted-sets/z/members/m", r#"{"score":1}"#).is(r#"{"result":1}"#);
    client.put("sorted-sets/z/members/m", r#"{"score":0.5,"lt":true,"ch":true}"#).is(r#"{"result":1}"#);
    client.put("sorted-sets/z/members/m", r#"{"score":2,"incr":true}"#).is(r#"{"result":2.5}"#);
    client.put("sorted-sets/z/members/m", r#"{"score":2,"incr":true,"nx":true}"#).fails(412, "precondition_failed", "");
    client.put("sorted-sets/z/members/m", "{}").fails(400, "missing_argument", "score");
    client.put("sorted-sets/z/members/m", r#"{"score":"x"}"#).fails(400, "invalid_argument", "score");
    client.put("sorted-sets/z/members/m", r#"{"score":1,"nx":true,"gt":true}"#).fails(400, "invalid_argument", "gt");
    client.put("sorted-sets/z/members/m", r#"{"score":1,"nx":false,"gt":true}"#).is(r#"{"result":0}"#);
    client.get("sorted-sets/z/members/m").is(r#"{"result":2.5}"#);
    client.get("sorted-sets/z/members/none").fails(404, "key_not_found", "");
    // A key that no path can hold.
    client.put("hashes//fields/f?keyBase64=Lg==", r#"{"value":"1"}"#).is(r#"{"result":1}"#);
    client.get("hashes/?keyBase64=Lg==").is(r#"{"result":{"f":"1"}}"#);
}

#[test]
fn lists_and_sets_that_are_missing_are_empty() {
    let app = App::start();
    let client = app.anonymous();
    for path in ["lists/a", "sets/a", "sorted-sets/a", "lists/a?start=5&stop=9"] {
        client.get(path).is(r#"{"result":[]}"#);
    }
    for path in ["lists/a", "sets/a", "sorted-sets/a", "lists/a?element=x", "sets/a?member=x", "sets/a/members/x"] {
        client.delete(path).fails(404, "key_not_found", "");
    }
    client.get("lists/a/items/0").fails(404, "key_not_found", "");
    client.put("lists/a/items/0", r#"{"element":"x"}"#).fails(404, "key_not_found", "");
    client.get("lists/a/items/x").fails(400, "invalid_argument", "index");
    client.get("sets/a/members/x").fails(404, "key_not_found", "");
    client.post("lists/a", r#"{"elements":["x","y","z"]}"#).is(r#"{"result":3}"#);
    client.get("lists/a?start=-2").is(r#"{"result":["y","z"]}"#);
    client.put("lists/a/items/7", r#"{"element":"x"}"#).fails(422, "redis_error", "");
    client.post("lists/a", "{}").fails(400, "missing_argument", "elements");
    client.post("sets/a", r#"{"members":["x"]}"#).fails(409, "wrong_type", "");
}

#[test]
fn sorted_sets_are_read_by_ranges() {
    let app = App::start();
    let client = app.anonymous();
    client
        .post("sorted-sets/z", r#"{"members":[{"member":"a","score":1},{"member":"b","score":2e2},{"member":"c","score":"inf"}]}"#)
        .is(r#"{"result":3}"#);
    client
        .get("sorted-sets/z?withscores")
        .is(r#"{"result":[{"member":"a","score":1},{"member":"b","score":200},{"member":"c","score":"inf"}]}"#);
    client.get("sorted-sets/z?start=%2Binf&stop=%281&byscore&rev&limit=%7B%22offset%22:1,%22count%22:1%7D").is(r#"{"result":["b"]}"#);
    client.get("sorted-sets/z?bylex&start=-&stop=%2B&withscores").fails(400, "invalid_argument", "withscores");
    client.post("geosearch", r#"{"key":"z","byradius":{"radius":1,"unit":"m"}}"#).fails(400, "missing_argument", "frommember");
}

#[test]
fn a_large_hash_comes_in_pages() {
    let app = App::start();
    let client = app.anonymous();
    let fields: BTreeMap<String, String> = (0..1000).map(|number| (format!("f{number}"), number.to_string())).collect();
    client.patch("hashes/h", &json!({ "fields": fields }).to_string()).is(r#"{"result":1000}"#);
    let (mut found, mut cursor, mut pages) = (BTreeMap::new(), "0".to_owned(), 0);
    loop {
        let page = client.get(&format!("hashes/h?cursor={cursor}&count=100")).json();
        found.extend(page["result"].as_object().unwrap().iter().map(|(field, value)| (field.clone(), value.as_str().unwrap().to_owned())));
        cursor = page["cursor"].as_str().unwrap().to_owned();
        pages += 1;
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(found, fields);
    assert!(pages > 5, "{pages}");
}

#[test]
fn every_path_says_what_can_be_done_there() {
    let app = App::start();
    let client = app.anonymous();
    for (path, allowed) in [
        ("hashes/a", "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"),
        ("hashes/a/fields/f", "DELETE, GET, HEAD, OPTIONS, PUT"),
        ("lists/a", "DELETE, GET, HEAD, OPTIONS, POST"),
        ("lists/a/items/0", "GET, HEAD, OPTIONS, PUT"),
        ("sets/a", "DELETE, GET, HEAD, OPTIONS, POST"),
        ("sets/a/members/m", "DELETE, GET, HEAD, OPTIONS, PUT"),
        ("sorted-sets/a", "DELETE, GET, HEAD, OPTIONS, POST"),
        ("sorted-sets/a/members/m", "DELETE, GET, HEAD, OPTIONS, PUT"),
    ] {
        assert_eq!(client.send("OPTIONS", path, None).header("allow"), Some(allowed), "{path}");
        let response = client.send("TRACE", path, None);
        assert_eq!((response.status, response.header("allow")), (405, Some(allowed)), "{path}");
        assert_eq!(client.send("HEAD", path, None).status, client.get(path).status, "{path}");
    }
    client.get("sets").fails(404, "unknown_operation", "op");
    client.get("hashes/a/fields").fails(404, "route_not_found", "");
}
