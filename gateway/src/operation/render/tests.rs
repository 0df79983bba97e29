//! Replies in RESP2 and the JSON that is made of them.

use super::*;
use crate::operation::Mode;
use crate::operation::find;

fn answer(name: &str, shape: Option<Shape>, frame: &[u8], format: Format) -> Result<String, Code> {
    let operation = find(name).unwrap().operation();
    let plan = Plan { shape: shape.unwrap_or(operation.reply), columns: 0, idempotent: true, reads: false, mode: Mode::Call };
    let mut out = b"before".to_vec();
    let done = operation.render(&plan, frame, &format, &mut out);
    if done.is_err() {
        assert_eq!(out, b"before");
    }
    done.map(|()| String::from_utf8(out[6..].to_vec()).unwrap()).map_err(|error| error.code)
}

fn plain(name: &str, frame: &[u8]) -> Result<String, Code> {
    answer(name, None, frame, Format::default())
}

#[test]
fn replies_are_shaped() {
    assert_eq!(plain("get", b"$3\r\na\"b\r\n").unwrap(), r#"{"result":"a\"b"}"#);
    assert_eq!(plain("get", b"$-1\r\n").unwrap(), r#"{"result":null}"#);
    assert_eq!(plain("set", b"+OK\r\n").unwrap(), r#"{"result":"OK"}"#);
    assert_eq!(plain("mget", b"*2\r\n$1\r\n1\r\n$-1\r\n").unwrap(), r#"{"result":["1",null]}"#);
    assert_eq!(plain("incrby", b":9223372036854775807\r\n").unwrap(), r#"{"result":9223372036854775807}"#);
    assert_eq!(plain("get", b":1\r\n"), Err(Code::BackendError));
    assert_eq!(plain("get", b"*0\r\n"), Err(Code::BackendError));
    assert_eq!(plain("get", b"$5\r\na"), Err(Code::BackendError));
    assert_eq!(plain("get", b"-WRONGTYPE x\r\n"), Err(Code::WrongType));
}

#[test]
fn bytes_are_never_replaced() {
    assert_eq!(plain("get", b"$1\r\n\xff\r\n"), Err(Code::NotUtf8));
    assert_eq!(
        answer("set", Some(Shape::Bytes), b"$1\r\n\xff\r\n", Format::default()).unwrap(),
        r#"{"result":"/w==","encoding":"base64"}"#
    );
    let base64 = Format { encoding: Encoding::Base64, ..Format::default() };
    assert_eq!(answer("get", None, b"$1\r\na\r\n", base64).unwrap(), r#"{"result":"YQ==","encoding":"base64"}"#);
    assert_eq!(answer("set", None, b"+OK\r\n", base64).unwrap(), r#"{"result":"OK"}"#);
}

#[test]
fn large_integers_are_strings_on_request() {
    let format = Format { integers_as_strings: true, ..Format::default() };
    let incrby = |integer: &str| answer("incrby", None, format!(":{integer}\r\n").as_bytes(), format).unwrap();
    assert_eq!(incrby("9007199254740992"), r#"{"result":9007199254740992}"#);
    assert_eq!(incrby("9007199254740993"), r#"{"result":"9007199254740993"}"#);
    assert_eq!(incrby("-9007199254740993"), r#"{"result":"-9007199254740993"}"#);
}

#[test]
fn raw_replies_are_as_they_come() {
    let mut out = Vec::new();
    render_raw(b"*4\r\n+OK\r\n:1\r\n-ERR no\r\n*1\r\n$-1\r\n", &Format::default(), &mut out).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), r#"{"result":["OK",1,{"error":"ERR no"},[null]]}"#);
    let deep = [b"*1\r\n".repeat(100_000), b":1\r\n".to_vec()].concat();
    assert_eq!(render_raw(&deep, &Format::default(), &mut Vec::new()).unwrap_err().code, Code::BackendError);
}

#[test]
fn json_stands_as_itself() {
    let json = |frame: &[u8]| answer("get", Some(Shape::Json), frame, Format::default());
    assert_eq!(json(b"$9\r\n{\"a\":1.0}\r\n").unwrap(), r#"{"result":{"a":1.0}}"#);
    assert_eq!(json(b"*2\r\n$1\r\n1\r\n$-1\r\n").unwrap(), r#"{"result":[1,null]}"#);
    assert_eq!(json(b"$3\r\n{\"a\r\n"), Err(Code::BackendError));
}

#[test]
fn a_record_may_end_in_a_list() {
    const SLOTS: &[Field] = &[Field::new("start", Shape::Integer), Field::rest("nodes", Shape::Map(&Shape::Integer))];
    let slots = |frame: &[u8]| answer("get", Some(Shape::Record(SLOTS)), frame, Format::default());
    assert_eq!(slots(b"*1\r\n:1\r\n").unwrap(), r#"{"result":{"start":1,"nodes":[]}}"#);
    let two = b"*3\r\n$1\r\n1\r\n*0\r\n*2\r\n:5\r\n:6\r\n";
    assert_eq!(slots(two).unwrap(), r#"{"result":{"start":1,"nodes":[{},{"5":6}]}}"#);
    assert_eq!(slots(b"*0\r\n"), Err(Code::BackendError));
}

#[test]
fn one_value_has_bytes() {
    assert_eq!(value(b"$1\r\n\xff\r\n"), Ok(Some(&b"\xff"[..])));
    assert_eq!(value(b"$-1\r\n"), Ok(None));
    assert_eq!(value(b"*0\r\n").unwrap_err().code, Code::NotAcceptable);
}

#[test]
fn replies_nest_only_so_deep() {
    let nested = |levels: usize| [b"*1\r\n".repeat(levels), b"$1\r\n1\r\n".to_vec()].concat();
    for shape in [Shape::Raw, Shape::Json] {
        assert!(answer("eval", Some(shape), &nested(DEPTH - 1), Format::default()).is_ok());
        // As deep as a server likes, which is deeper than the stack.
        assert_eq!(answer("eval", Some(shape), &nested(1_000_000), Format::default()), Err(Code::BackendError));
    }
}
