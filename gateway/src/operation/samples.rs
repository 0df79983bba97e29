//! What the language of the table carries: calls are encoded and replies rendered as entries say.

use bytes::BytesMut;

use super::arguments::Arguments;
use super::encode::{Encoding, Plan, Rules};
use super::render::Format;
use super::{Mode, Operation, find};
use crate::error::{Code, Error};
use crate::resp::{Item, Reader};

fn entry(name: &str) -> &'static Operation {
    find(name).unwrap().operation()
}

fn plan(operation: &Operation, arguments: &str) -> Result<(Plan, String), Error> {
    let rules = Rules { encoding: Encoding::Utf8, max_key_bytes: 100, max_value_bytes: 100 };
    let mut out = BytesMut::new();
    let plan = operation.encode_any(&Arguments::from_json(arguments.as_bytes())?, &rules, &mut out)?;
    let mut reader = Reader::new(&out);
    let Ok(Item::Array(Some(words))) = reader.read() else { panic!("no command: {out:?}") };
    let mut line = Vec::new();
    for _ in 0..words {
        let Ok(Item::Bulk(Some(word))) = reader.read() else { panic!("no word: {out:?}") };
        line.push(String::from_utf8(word.to_vec()).unwrap());
    }
    assert_eq!(reader.position(), out.len());
    Ok((plan, line.join(" ")))
}

fn line(operation: &Operation, arguments: &str) -> String {
    plan(operation, arguments).unwrap().1
}

fn fault(operation: &Operation, arguments: &str) -> (Code, String) {
    let error = plan(operation, arguments).unwrap_err();
    (error.code, error.param.unwrap_or_default().into_owned())
}

/// The answer to a reply written as words: `*2`, `:1`, `+OK`, `_` for null, else a byte string.
fn answer(operation: &Operation, arguments: &str, reply: &str) -> String {
    let (plan, _) = plan(operation, arguments).unwrap();
    let mut frame = String::new();
    for word in reply.split(' ') {
        match word.as_bytes()[0] {
            b'*' | b':' | b'+' => frame += &format!("{word}\r\n"),
            b'_' => frame += "$-1\r\n",
            _ => frame += &format!("${}\r\n{word}\r\n", word.len()),
        }
    }
    let mut out = Vec::new();
    operation.render(&plan, frame.as_bytes(), &Format::default(), &mut out).unwrap();
    String::from_utf8(out).unwrap().strip_prefix("{\"result\":").unwrap().strip_suffix('}').unwrap().to_owned()
}

#[test]
fn sorted_sets_take_blocks_and_answer_with_scores() {
    let two = r#"{"key":"z","members":[{"member":"m","score":1.50},{"score":"-inf","member":"n"}],"ch":true}"#;
    assert_eq!(line(entry("zadd"), two), "ZADD z CH 1.50 m -inf n");
    assert_eq!(answer(entry("zadd"), r#"{"key":"z","members":[{"member":"m","score":1}],"incr":true}"#, "3.5"), "3.5");
    let no_score = r#"{"key":"z","members":[{"member":"m"}]}"#;
    assert_eq!(fault(entry("zadd"), no_score), (Code::MissingArgument, "members.score".into()));
    assert_eq!(
        fault(entry("zadd"), r#"{"key":"z","members":[{"member":"m","score":"nan"}]}"#),
        (Code::InvalidArgument, "members.score".into())
    );
    assert_eq!(
        fault(entry("zadd"), r#"{"key":"z","members":[{"member":"m","score":1,"x":1}]}"#),
        (Code::UnknownArgument, "members.x".into())
    );

    let scores = r#"{"key":"z","start":0,"stop":"-1","withscores":true}"#;
    assert_eq!(line(entry("zrange"), scores), "ZRANGE z 0 -1 WITHSCORES");
    assert_eq!(answer(entry("zrange"), scores, "*4 a 1e+20 b inf"), r#"[{"member":"a","score":1e+20},{"member":"b","score":"inf"}]"#);
    assert_eq!(answer(entry("zrange"), r#"{"key":"z","start":0,"stop":1}"#, "*1 a"), r#"["a"]"#);
}

#[test]
fn streams_trim_and_keep_repeated_fields() {
    assert_eq!(line(entry("xadd"), r#"{"key":"s","fields":{"f":"v"}}"#), "XADD s * f v");
    let trimmed = r#"{"key":"s","id":"5-*","fields":[["f",1],["f",2]],"trim":{"maxlen":100,"approximate":true,"limit":10}}"#;
    assert_eq!(line(entry("xadd"), trimmed), "XADD s MAXLEN ~ 100 LIMIT 10 5-* f 1 f 2");
    let exact = r#"{"key":"s","fields":{"f":1},"trim":{"minid":"7","approximate":false}}"#;
    assert_eq!(line(entry("xadd"), exact), "XADD s MINID 7 * f 1");
    assert_eq!(fault(entry("xadd"), r#"{"key":"s","fields":{"f":1},"trim":{}}"#), (Code::MissingArgument, "trim.maxlen".into()));
    let both = r#"{"key":"s","fields":{"f":1},"trim":{"maxlen":1,"minid":"1"}}"#;
    assert_eq!(fault(entry("xadd"), both), (Code::InvalidArgument, "trim.minid".into()));
    assert_eq!(fault(entry("xadd"), r#"{"key":"s","fields":{}}"#), (Code::InvalidArgument, "fields".into()));

    assert_eq!(
        answer(entry("xrange"), r#"{"key":"s"}"#, "*2 *2 1-0 *6 f 1 g 2 f 3 *2 2-0 _"),
        r#"[{"id":"1-0","fields":{"f":["1","3"],"g":"2"}},{"id":"2-0","fields":null}]"#
    );

    assert_eq!(line(entry("xread"), r#"{"streams":{"a":"0","b":"$"}}"#), "XREAD STREAMS a b 0 $");
    assert_eq!(answer(entry("xread"), r#"{"streams":{"a":0}}"#, "*1 *2 a *1 *2 1-0 *2 f v"), r#"{"a":[{"id":"1-0","fields":{"f":"v"}}]}"#);
    let blocking = r#"{"block":5,"streams":{"a":"0"}}"#;
    assert!(matches!(plan(entry("xread"), blocking).unwrap().0.mode, Mode::Blocking(_)));
    let rules = Rules { encoding: Encoding::Utf8, max_key_bytes: 9, max_value_bytes: 9 };
    let refused = entry("xread").encode(&Arguments::from_json(blocking.as_bytes()).unwrap(), &rules, &mut BytesMut::new());
    assert_eq!(refused.unwrap_err().code, Code::WrongTransport);
}

#[test]
fn hashes_are_objects_or_pairs() {
    assert_eq!(line(entry("hset"), r#"{"key":"h","fields":{"name":"Ada","born":1815}}"#), "HSET h name Ada born 1815");
    assert_eq!(line(entry("hgetall"), r#"{"key":"h","pairs":true}"#), "HGETALL h");
    assert_eq!(answer(entry("hgetall"), r#"{"key":"h"}"#, "*4 a 1 b 2"), r#"{"a":"1","b":"2"}"#);
    assert_eq!(answer(entry("hgetall"), r#"{"key":"h","pairs":true}"#, "*4 a 1 b 2"), r#"[["a","1"],["b","2"]]"#);
    assert_eq!(line(entry("hexpire"), r#"{"key":"h","seconds":5,"fields":["a","b"]}"#), "HEXPIRE h 5 FIELDS 2 a b");
}

#[test]
fn an_optional_count_changes_the_shape() {
    assert_eq!(answer(entry("spop"), r#"{"key":"s"}"#, "a"), r#""a""#);
    assert_eq!(answer(entry("spop"), r#"{"key":"s"}"#, "_"), "null");
    assert_eq!(answer(entry("spop"), r#"{"key":"s","count":1}"#, "*1 a"), r#"["a"]"#);
}

#[test]
fn geo_searches_have_blocks_and_columns() {
    let search = r#"{"key":"g","fromlonlat":{"latitude":38,"longitude":15.5},"byradius":{"radius":5,"unit":"km"},"count":3,"any":true,
        "withcoord":true,"withdist":true}"#;
    assert_eq!(line(entry("geosearch"), search), "GEOSEARCH g FROMLONLAT 15.5 38 BYRADIUS 5 KM COUNT 3 ANY WITHCOORD WITHDIST");
    assert_eq!(
        answer(entry("geosearch"), search, "*1 *3 a 0.5 *2 15.1 38.2"),
        r#"[{"member":"a","distance":0.5,"position":{"longitude":15.1,"latitude":38.2}}]"#
    );
    assert_eq!(
        fault(entry("geosearch"), r#"{"key":"g","byradius":{"radius":5,"unit":"km"}}"#),
        (Code::MissingArgument, "frommember".into())
    );
    let polygon =
        r#"{"key":"g","bypolygon":{"vertices":[{"longitude":0,"latitude":0},{"longitude":1,"latitude":0},{"longitude":0,"latitude":1}]}}"#;
    assert_eq!(line(entry("geosearch"), polygon), "GEOSEARCH g BYPOLYGON 3 0 0 1 0 0 1");
    let centre = polygon.replacen('{', r#"{"frommember":"a","#, 1);
    assert_eq!(fault(entry("geosearch"), &centre), (Code::InvalidArgument, "frommember".into()));
    let unit = r#"{"key":"g","frommember":"a","byradius":{"radius":5,"unit":"KM"}}"#;
    assert_eq!(fault(entry("geosearch"), unit), (Code::InvalidArgument, "byradius.unit".into()));
    assert_eq!(
        fault(entry("geosearch"), r#"{"key":"g","frommember":"a","byradius":{"radius":5,"unit":"km"},"any":true}"#),
        (Code::InvalidArgument, "any".into())
    );
}

#[test]
fn the_number_of_keys_is_never_asked_for() {
    assert_eq!(line(entry("eval"), r#"{"script":"s","keys":["a","b"],"args":[1,"x"]}"#), "EVAL s 2 a b 1 x");
    assert_eq!(line(entry("eval"), r#"{"script":"s","keys":[],"args":"x"}"#), "EVAL s 0 x");
    assert_eq!(line(entry("eval"), r#"{"script":"s"}"#), "EVAL s 0");
    assert_eq!(answer(entry("eval"), r#"{"script":"s"}"#, "*3 a :1 *1 _"), r#"["a",1,[null]]"#);
}

#[test]
fn a_repeated_choice_is_an_array_of_objects() {
    let operations = r##"{"key":"b","operations":[{"overflow":"sat"},{"get":{"encoding":"u8","offset":"#1"}}]}"##;
    assert_eq!(line(entry("bitfield"), operations), "BITFIELD b OVERFLOW SAT GET u8 #1");
    assert_eq!(line(entry("bitfield"), r#"{"key":"b"}"#), "BITFIELD b");
}

#[test]
fn what_blocks_says_why() {
    assert_eq!(line(entry("blpop"), r#"{"keys":["a","b"],"timeout":0.5}"#), "BLPOP a b 0.5");
    assert_eq!(answer(entry("blpop"), r#"{"keys":["a"],"timeout":0}"#, "*2 a 1"), r#"{"key":"a","element":"1"}"#);
    assert_eq!(entry("blpop").mode.refusal().unwrap().detail, "BLPOP waits until a list has an element");
}
