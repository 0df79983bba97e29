//! Random bytes, sizes and numbers: what goes in over HTTP is what a plain client of Redis reads, and the other way round.

use base64::{Engine, prelude::BASE64_STANDARD};
use dbx_gateway::resp::{Item, Reader};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use crate::support::{App, Client, Random};

const SIZES: &[usize] = &[0, 1, 2, 3, 15, 16, 17, 63, 64, 65, 255, 256, 4095, 4096, 200_000];
/// Where something changes: a value travels apart from others, or is hashed no more.
const BORDERS: &[usize] = &[16 << 10, 64 << 10, 1 << 20];
const LARGEST: usize = (1 << 20) + 1;
const INTEGERS: &[i64] = &[0, 1, -1, i64::MAX, i64::MIN, i64::MAX - 1, i64::MIN + 1, 1 << 53, (1 << 53) + 1, -(1 << 53) - 1];
const DOUBLES: &[f64] = &[0.0, -0.0, 1.5, -1e308, f64::MAX, f64::MIN_POSITIVE, 5e-324, f64::INFINITY, f64::NEG_INFINITY, 0.1, 1e21];

fn base64(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

/// Bytes of any length, now and then text, often few.
fn bytes(random: &mut Random, largest: usize) -> Vec<u8> {
    let length = match random.below(8) {
        0 => *random.pick(SIZES),
        1 => *random.pick(BORDERS) - 1 + random.below(3),
        _ => random.below(40),
    };
    let length = length.min(largest);
    if random.below(4) == 0 { (0..length).map(|_| *random.pick(b"az09 /?%\"\\\r\n\0")).collect() } else { random.bytes(length) }
}

/// Different byte strings.
fn several(random: &mut Random) -> Vec<Vec<u8>> {
    let mut several: Vec<Vec<u8>> = (0..=random.below(12)).map(|_| bytes(random, 300)).collect();
    several.sort();
    several.dedup();
    several
}

/// Scores as they are written, so that no digit is lost in reading.
#[derive(Deserialize)]
struct Scores<'a> {
    #[serde(borrow)]
    result: Vec<Scored<'a>>,
}

#[derive(Deserialize)]
struct Scored<'a> {
    member: String,
    #[serde(borrow)]
    score: &'a RawValue,
}

struct Check {
    app: App,
    client: Client,
    random: Random,
}

impl Check {
    /// Calls with every string in base64.
    #[track_caller]
    fn call(&self, op: &str, args: &Value) -> Value {
        let response = self.client.post(&format!("{op}?encoding=base64"), args.to_string());
        assert_eq!(response.status, 200, "{op}: {}", response.text());
        response.json()["result"].take()
    }

    /// What Redis answers, its byte strings and integers one after the other.
    fn redis(&self, words: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut command = bytes::BytesMut::new();
        dbx_gateway::resp::write_command(&mut command, words);
        let frame = self.app.redis.frame(&command);
        let (mut reader, mut values) = (Reader::new(&frame), Vec::new());
        while reader.position() < frame.len() {
            match reader.read().unwrap() {
                Item::Array(_) => {}
                Item::Bulk(Some(value)) | Item::Integer(value) | Item::Simple(value) => values.push(value.to_vec()),
                other => panic!("{other:?}"),
            }
        }
        values
    }

    fn strings(&mut self) {
        let (key, value) = (bytes(&mut self.random, 1024), bytes(&mut self.random, LARGEST));
        assert_eq!(self.call("set", &json!({ "key": base64(&key), "value": base64(&value) })), "OK");
        assert_eq!(self.redis(&[b"GET", &key]), std::slice::from_ref(&value));
        assert_eq!(self.call("get", &json!({ "key": base64(&key) })), base64(&value));
        let raw = self.client.with("Content-Type", "application/octet-stream").with("Accept", "application/octet-stream");
        let path = format!("strings/?keyBase64={}", base64(&key).replace('+', "%2B"));
        assert_eq!(raw.get(&path).body, value);
        let other = bytes(&mut self.random, LARGEST);
        assert_eq!(raw.put(&path, &other).status, 200);
        assert_eq!(self.redis(&[b"GET", &key]), std::slice::from_ref(&other));
        self.redis(&[b"SET", &key, &value]);
        assert_eq!(raw.get(&path).body, value);
    }

    fn hashes(&mut self) {
        let key = bytes(&mut self.random, 1024);
        let fields = several(&mut self.random);
        let pairs: Vec<[Vec<u8>; 2]> = fields.into_iter().map(|field| [field, bytes(&mut self.random, 70_000)]).collect();
        let given: Vec<[String; 2]> = pairs.iter().map(|pair| [base64(&pair[0]), base64(&pair[1])]).collect();
        assert_eq!(self.call("hset", &json!({ "key": base64(&key), "fields": given })), pairs.len());
        let stored = self.redis(&[b"HGETALL", &key]);
        let mut sorted: Vec<[Vec<u8>; 2]> = stored.chunks(2).map(|pair| [pair[0].clone(), pair[1].clone()]).collect();
        sorted.sort();
        assert_eq!(sorted, pairs);
        let answer = self.call("hgetall", &json!({ "key": base64(&key), "pairs": true }));
        assert_eq!(answer, json!(stored.chunks(2).map(|pair| [base64(&pair[0]), base64(&pair[1])]).collect::<Vec<_>>()));
        let answer = self.call("hgetall", &json!({ "key": base64(&key) }));
        assert_eq!(answer, Value::Object(given.iter().map(|[field, value]| (field.clone(), value.as_str().into())).collect()));
        let [field, value] = &pairs[0];
        let raw = self.client.with("Accept", "application/octet-stream");
        let body = json!({ "key": base64(&key), "field": base64(field) }).to_string();
        assert_eq!(raw.post("hget?encoding=base64", body).body, *value);
    }

    fn lists(&mut self) {
        let key = bytes(&mut self.random, 1024);
        let elements: Vec<Vec<u8>> = (0..=self.random.below(30)).map(|_| bytes(&mut self.random, 9000)).collect();
        let given: Vec<String> = elements.iter().map(|element| base64(element)).collect();
        assert_eq!(self.call("rpush", &json!({ "key": base64(&key), "elements": given })), elements.len());
        assert_eq!(self.redis(&[b"LRANGE", &key, b"0", b"-1"]), elements);
        let (start, stop) = (*self.random.pick(INTEGERS), *self.random.pick(INTEGERS));
        for (start, stop) in [(0, -1), (start, stop), (i64::MIN, i64::MAX)] {
            let (from, to) = (start.to_string(), stop.to_string());
            let stored: Vec<String> =
                self.redis(&[b"LRANGE", &key, from.as_bytes(), to.as_bytes()]).iter().map(|element| base64(element)).collect();
            assert_eq!(self.call("lrange", &json!({ "key": base64(&key), "start": start, "stop": stop })), json!(stored), "{start} {stop}");
        }
    }

    fn sorted_sets(&mut self) {
        let key = bytes(&mut self.random, 1024);
        let members: Vec<(Vec<u8>, f64)> = several(&mut self.random)
            .into_iter()
            .map(|member| {
                let any = f64::from_bits(self.random.next());
                let score = if any.is_nan() || self.random.below(2) == 0 { *self.random.pick(DOUBLES) } else { any };
                (member, score)
            })
            .collect();
        let number = |score: f64| if score.is_finite() { json!(score) } else { json!(score.to_string()) };
        let given: Vec<Value> =
            members.iter().map(|(member, score)| json!({ "member": base64(member), "score": number(*score) })).collect();
        assert_eq!(self.call("zadd", &json!({ "key": base64(&key), "members": given })), members.len());
        let stored = self.redis(&[b"ZRANGE", &key, b"0", b"-1", b"WITHSCORES"]);
        let arguments = json!({ "key": base64(&key), "start": 0, "stop": -1, "withscores": true }).to_string();
        let response = self.client.post("zrange?encoding=base64", arguments);
        let answer: Scores<'_> = serde_json::from_slice(&response.body).unwrap();
        assert_eq!((stored.len(), answer.result.len()), (members.len() * 2, members.len()));
        let double = |text: &str| text.trim_matches('"').parse::<f64>().unwrap();
        for (found, pair) in answer.result.iter().zip(stored.chunks(2)) {
            assert_eq!(found.member, base64(&pair[0]));
            let sent = members.iter().find(|(member, _)| *member == pair[0]).unwrap().1;
            let scores = [found.score.get(), std::str::from_utf8(&pair[1]).unwrap()];
            assert!(scores.iter().all(|score| double(score) == sent), "{scores:?} are not {sent}");
        }
    }

    fn streams(&mut self) {
        let key = bytes(&mut self.random, 1024);
        for _ in 0..=self.random.below(4) {
            // A field may come twice.
            let fields: Vec<[String; 2]> = (0..=self.random.below(6))
                .map(|_| [base64(&[*self.random.pick(b"ab\xff")]), base64(&bytes(&mut self.random, 5000))])
                .collect();
            self.call("xadd", &json!({ "key": base64(&key), "fields": fields }));
        }
        // In a reply of one entry the id stands before its fields and values.
        let answer = self.call("xrange", &json!({ "key": base64(&key) }));
        for entry in answer.as_array().unwrap() {
            let id = entry["id"].as_str().unwrap();
            let stored = self.redis(&[b"XRANGE", &key, id.as_bytes(), id.as_bytes()]);
            assert_eq!(stored[0], id.as_bytes());
            let mut expected = serde_json::Map::new();
            for pair in stored[1..].chunks(2) {
                let values = expected.entry(base64(&pair[0])).or_insert_with(|| json!([]));
                values.as_array_mut().unwrap().push(base64(&pair[1]).into());
            }
            for values in expected.values_mut() {
                if let [value] = &values.as_array().unwrap()[..] {
                    *values = value.clone();
                }
            }
            assert_eq!(entry["fields"], Value::Object(expected));
        }
        assert_eq!(self.redis(&[b"XLEN", &key]), [answer.as_array().unwrap().len().to_string().into_bytes()]);
    }

    fn integers(&mut self) {
        let any = i64::from_le_bytes(self.random.next().to_le_bytes());
        let integer = if self.random.below(2) == 0 { *self.random.pick(INTEGERS) } else { any };
        self.app.redis.line("DEL i h");
        let reply = format!("{{\"result\":{integer}}}");
        self.client.post("incrby", format!("{{\"key\":\"i\",\"increment\":{integer}}}")).is(&reply);
        self.client.post("incrby", format!("{{\"key\":\"i\",\"increment\":\"{}\"}}", 0)).is(&reply);
        self.client.post("hincrby", format!("{{\"key\":\"h\",\"field\":\"f\",\"increment\":\"{integer}\"}}")).is(&reply);
        assert_eq!(self.app.redis.line("GET i"), integer.to_string());
        // A number is stored as it is written.
        self.client.post("set", format!("{{\"key\":\"i\",\"value\":{integer}}}")).is("{\"result\":\"OK\"}");
        assert_eq!(self.app.redis.line("GET i"), integer.to_string());
        let strings = if integer.unsigned_abs() > 1 << 53 { format!("{{\"result\":\"{integer}\"}}") } else { reply };
        self.client.post("incrby?integers=string", r#"{"key":"i","increment":0}"#).is(&strings);
        if let (Some(less), true) = (integer.checked_sub(1), integer != i64::MIN) {
            self.client.post("decr", r#"{"key":"i"}"#).is(&format!("{{\"result\":{less}}}"));
        }
    }
}

#[test]
fn random_bytes_and_numbers_survive_both_ways() {
    let seed = Random::seed();
    println!("DBXDEV_SEED={seed} repeats this");
    let app = App::with(&["limits.maxKeyBytes=1KiB"]);
    let mut check = Check { client: app.anonymous(), app, random: Random::new(seed) };
    for _ in 0..40 {
        check.app.redis.line("FLUSHALL");
        // Keys may be the same by chance, and of another type.
        for part in [Check::strings, Check::hashes, Check::lists, Check::sorted_sets, Check::streams, Check::integers] {
            part(&mut check);
            check.app.redis.line("FLUSHALL");
        }
    }
}
