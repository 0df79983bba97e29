//! Strings and counters.

use super::access::Category::{Fast, Read, Slow, String, Write};
use super::param::Kind::{self, Bytes, Integer, Key, Text};
use super::param::{Effect, Layout, Param, Role};
use super::route::Method::{Get, Put};
use super::route::{Projection, Route};
use super::shape::Shape;
use super::{Access, Command, Example, Group, Mode, Operation, Since, Split};
use crate::error::Code;

const VALUE: Param = Param::required("value", Bytes, "What to store");

const EX: Param = Param::option("ex", "EX", Integer, "Seconds until the key expires");
const PX: Param = Param::option("px", "PX", Integer, "Milliseconds until the key expires");
const EXAT: Param = Param::option("exat", "EXAT", Integer, "Unix time in seconds at which the key expires");
const PXAT: Param = Param::option("pxat", "PXAT", Integer, "Unix time in milliseconds at which the key expires");
const KEEPTTL: Param = Param::flag("keepttl", "KEEPTTL", "Keep the time at which the key expires");

const ONCE: &[Effect] = &[Effect::Once];

/// The operations of the group.
pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        name: "append",
        command: Command::new(&["APPEND"]),
        group: Group::Strings,
        summary: "Adds bytes to the end of a string, which is made if it is missing",
        since: Since::both("2.0.0"),
        params: &[Param::key(Role::WRITE), Param::required("value", Bytes, "What to add")],
        reply: Shape::Integer,
        mode: Mode::Call,
        access: Access::write(&[Write, String, Fast]),
        idempotent: false,
        split: Split::Never,
        routes: &[],
        errors: &[Code::WrongType],
        example: Example { given: &["SET a Hello"], arguments: r#"{"key":"a","value":" World"}"#, answer: r#"{"result":11}"#, exact: true },
    },
    Operation {
        name: "get",
        command: Command::new(&["GET"]),
        group: Group::Strings,
        summary: "The value of a string",
        since: Since::both("1.0.0"),
        params: &[Param::key(Role::READ)],
        reply: Shape::Bytes,
        mode: Mode::Call,
        access: Access::read(&[Read, String, Fast]),
        idempotent: true,
        split: Split::Never,
        routes: &[Route::only(Get, "/strings/{key}", Projection::Value)],
        errors: &[Code::WrongType, Code::NotUtf8],
        example: Example { given: &["SET a Hello"], arguments: r#"{"key":"a"}"#, answer: r#"{"result":"Hello"}"#, exact: true },
    },
    Operation {
        name: "incrby",
        command: Command::new(&["INCRBY"]),
        group: Group::Strings,
        summary: "Adds to an integer, which starts at 0",
        since: Since::both("1.0.0"),
        params: &[Param::key(Role::READ_WRITE), Param::required("increment", Integer, "What to add")],
        reply: Shape::Integer,
        mode: Mode::Call,
        access: Access::write(&[Write, String, Fast]),
        idempotent: false,
        split: Split::Never,
        routes: &[],
        errors: &[Code::WrongType],
        example: Example {
            given: &["SET a 1"],
            arguments: r#"{"key":"a","increment":9007199254740993}"#,
            answer: r#"{"result":9007199254740994}"#,
            exact: true,
        },
    },
    Operation {
        name: "mget",
        command: Command::new(&["MGET"]),
        group: Group::Strings,
        summary: "The values of several strings; null for what is missing or no string",
        since: Since::both("1.0.0"),
        params: &[Param::keys(&Key(Role::READ))],
        reply: Shape::List(&Shape::Bytes),
        mode: Mode::Call,
        access: Access::read(&[Read, String, Fast]),
        idempotent: true,
        split: Split::Ordered,
        routes: &[],
        errors: &[Code::NotUtf8, Code::ResultTooLarge],
        example: Example {
            given: &["MSET a 1 b 2"],
            arguments: r#"{"keys":["a","b","missing"]}"#,
            answer: r#"{"result":["1","2",null]}"#,
            exact: true,
        },
    },
    Operation {
        name: "mset",
        command: Command::new(&["MSET"]),
        group: Group::Strings,
        summary: "Stores several strings at once",
        since: Since::both("1.0.1"),
        params: &[Param::required("values", Kind::Pairs(&Key(Role::WRITE), &Bytes, Layout::Interleaved), "Keys and what to store in them")],
        reply: Shape::Word,
        mode: Mode::Call,
        access: Access::write(&[Write, String, Slow]),
        idempotent: true,
        split: Split::AllSucceed,
        routes: &[],
        errors: &[],
        example: Example { given: &[], arguments: r#"{"values":{"a":"1","b":"2"}}"#, answer: r#"{"result":"OK"}"#, exact: true },
    },
    Operation {
        name: "set",
        command: Command::new(&["SET"]),
        group: Group::Strings,
        summary: "Stores a string, whatever the key held before",
        since: Since::both("1.0.0"),
        params: &[
            Param::key(Role::WRITE),
            VALUE,
            Param::one_of(
                "condition",
                &[
                    Param::flag("nx", "NX", "Only if the key is missing").effects(ONCE),
                    Param::flag("xx", "XX", "Only if the key exists"),
                    Param::option("ifeq", "IFEQ", Bytes, "Only if the key holds this value")
                        .since(Some("8.4.0"), Some("8.1.0"))
                        .effects(ONCE),
                    Param::option("ifne", "IFNE", Bytes, "Only if the key does not hold this value")
                        .since(Some("8.4.0"), None)
                        .effects(ONCE),
                    Param::option("ifdeq", "IFDEQ", Text, "Only if the value has this digest").since(Some("8.4.0"), None).effects(ONCE),
                    Param::option("ifdne", "IFDNE", Text, "Only if the value does not have this digest")
                        .since(Some("8.4.0"), None)
                        .effects(ONCE),
                ],
            ),
            Param::flag("get", "GET", "Answer with the value from before").effects(&[
                Effect::Shape(Shape::Bytes),
                Effect::Reads,
                Effect::Once,
            ]),
            Param::one_of("expiration", &[EX, PX, EXAT, PXAT, KEEPTTL]),
        ],
        reply: Shape::Word,
        mode: Mode::Call,
        access: Access::write(&[Write, String, Slow]),
        idempotent: true,
        split: Split::Never,
        routes: &[Route::only(Put, "/strings/{key}", Projection::Value)],
        errors: &[Code::WrongType],
        example: Example {
            given: &[],
            arguments: r#"{"key":"a","value":"Hello","ex":60,"nx":true}"#,
            answer: r#"{"result":"OK"}"#,
            exact: true,
        },
    },
];
