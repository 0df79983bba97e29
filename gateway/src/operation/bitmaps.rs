//! Bitmaps and bit fields: strings, bit by bit.

use super::access::Category::{Bitmap, Fast, Read, Slow, Write};
use super::param::Kind::{self, Integer, Key, Text};
use super::param::{Count, Param, Role, Word};
use super::shape::Shape;
use super::{Access, Command, Example, Group, Mode, Operation, Since, Split};
use crate::error::Code;

const END: Param = Param::optional("end", Integer, "The last byte or bit, itself included; below 0, from the end");
const UNIT: Param = Param::optional(
    "unit",
    Kind::Choice(&[Word { name: "byte", token: "BYTE" }, Word { name: "bit", token: "BIT" }]),
    "What `start` and `end` count; bytes without it",
)
.since(Some("7.0.0"), Some("7.2.4"));

const ENCODING: Param = Param::required("encoding", Text, "`i` or `u` and the width in bits, as `u8`");
const OFFSET: Param = Param::required("offset", Text, "The first bit; with `#` in front, in units of the width");

const READ: Param = Param::option("get", "GET", Kind::Object(&[ENCODING, OFFSET]), "Read an integer");
const OPERATION: Param = Param::exactly_one_of(
    "operation",
    &[
        READ,
        Param::option(
            "set",
            "SET",
            Kind::Object(&[ENCODING, OFFSET, Param::required("value", Integer, "What to store")]),
            "Store an integer; the result is the one before",
        ),
        Param::option(
            "incrby",
            "INCRBY",
            Kind::Object(&[ENCODING, OFFSET, Param::required("increment", Integer, "What to add")]),
            "Add to an integer; the result is the sum",
        ),
        Param::option(
            "overflow",
            "OVERFLOW",
            Kind::Choice(&[Word { name: "wrap", token: "WRAP" }, Word { name: "sat", token: "SAT" }, Word { name: "fail", token: "FAIL" }]),
            "What the sums behind it do beyond their width: begin again, stay at the end, or do nothing and be null",
        ),
    ],
);

const BITOP: &[Word] = &[
    Word { name: "and", token: "AND" },
    Word { name: "or", token: "OR" },
    Word { name: "xor", token: "XOR" },
    Word { name: "not", token: "NOT" },
    Word { name: "diff", token: "DIFF" },
    Word { name: "diff1", token: "DIFF1" },
    Word { name: "andor", token: "ANDOR" },
    Word { name: "one", token: "ONE" },
];

/// The operations of the group, in the order of their names.
pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        name: "bitcount",
        command: Command::new(&["BITCOUNT"]),
        group: Group::Bitmaps,
        summary: "How many bits of a string are 1",
        since: Since::both("2.6.0"),
        params: &[
            Param::key(Role::READ),
            Param::optional("start", Integer, "The first byte or bit, counted from 0; below 0, from the end").requires("end"),
            END.requires("start"),
            UNIT.requires("start"),
        ],
        reply: Shape::Integer,
        mode: Mode::Call,
        access: Access::read(&[Read, Bitmap, Slow]),
        idempotent: true,
        split: Split::Never,
        routes: &[],
        errors: &[Code::WrongType],
        example: Example {
            given: &["SET a foobar"],
            arguments: r#"{"key":"a","start":0,"end":0}"#,
            answer: r#"{"result":4}"#,
            exact: true,
        },
    },
    Operation {
        name: "bitfield",
        command: Command::new(&["BITFIELD"]),
        group: Group::Bitmaps,
        summary: "Reads and changes integers of any width in a string; a result for each",
        since: Since::both("3.2.0"),
        params: &[
            Param::key(Role::READ_WRITE),
            Param::optional("operations", Kind::Objects(&[OPERATION], Count::Omitted), "What to do, in order"),
        ],
        reply: Shape::List(&Shape::Nullable(&Shape::Integer)),
        mode: Mode::Call,
        access: Access::write(&[Write, Bitmap, Slow]),
        idempotent: false,
        split: Split::Never,
        routes: &[],
        errors: &[Code::WrongType, Code::RedisError],
        example: Example {
            given: &[],
            arguments: r##"{"key":"a","operations":[{"overflow":"sat"},{"incrby":{"encoding":"u4","offset":"#1","increment":20}},{"get":{"encoding":"u8","offset":0}}]}"##,
            answer: r##"{"result":[15,15]}"##,
            exact: true,
        },
    },
    Operation {
        name: "bitfield_ro",
        command: Command::new(&["BITFIELD_RO"]),
        group: Group::Bitmaps,
        summary: "Reads integers of any width in a string; a result for each",
        since: Since::both("6.0.0"),
        params: &[
            Param::key(Role::READ),
            Param::optional("operations", Kind::Objects(&[Param { required: true, ..READ }], Count::Omitted), "What to read, in order"),
        ],
        reply: Shape::List(&Shape::Integer),
        mode: Mode::Call,
        access: Access::read(&[Read, Bitmap, Fast]),
        idempotent: true,
        split: Split::Never,
        routes: &[],
        errors: &[Code::WrongType, Code::RedisError],
        example: Example {
            given: &["SET a foobar"],
            arguments: r##"{"key":"a","operations":[{"get":{"encoding":"u8","offset":"#1"}}]}"##,
            answer: r##"{"result":[111]}"##,
            exact: true,
        },
    },
    Operation {
        name: "bitop",
        command: Command::new(&["BITOP"]),
        group: Group::Bitmaps,
        summary: "Stores what strings make bit by bit; the result is its length in bytes",
        since: Since::both("2.6.0"),
        params: &[
            Param::required("operation", Kind::Choice(BITOP), "How to join them; the last four need Redis 8.2"),
            Param::required("destkey", Key(Role::WRITE), "Where to store it, in place of what is there"),
            Param::keys(&Key(Role::READ)),
        ],
        reply: Shape::Integer,
        mode: Mode::Call,
        access: Access::write(&[Write, Bitmap, Slow]),
        idempotent: false,
        split: Split::Never,
        routes: &[],
        errors: &[Code::WrongType, Code::RedisError],
        example: Example {
            given: &["SET a abc", "SET b ab"],
            arguments: r#"{"operation":"and","destkey":"c","keys":["a","b"]}"#,
            answer: r#"{"result":3}"#,
            exact: true,
        },
    },
    Operation {
        name: "bitpos",
        command: Command::new(&["BITPOS"]),
        group: Group::Bitmaps,
        summary: "Where the first 1 or 0 of a string is, as bits from its start; -1 if there is none",
        since: Since::both("2.8.7"),
        params: &[
            Param::key(Role::READ),
            Param::required("bit", Integer, "1 or 0"),
            Param::optional("start", Integer, "The first byte or bit to look at, counted from 0; below 0, from the end"),
            END.requires("start"),
            UNIT.requires("end"),
        ],
        reply: Shape::Integer,
        mode: Mode::Call,
        access: Access::read(&[Read, Bitmap, Slow]),
        idempotent: true,
        split: Split::Never,
        routes: &[],
        errors: &[Code::WrongType],
        example: Example {
            given: &["SETBIT a 10 1"],
            arguments: r#"{"key":"a","bit":1,"start":1}"#,
            answer: r#"{"result":10}"#,
            exact: true,
        },
    },
    Operation {
        name: "getbit",
        command: Command::new(&["GETBIT"]),
        group: Group::Bitmaps,
        summary: "A bit of a string; 0 behind its end",
        since: Since::both("2.2.0"),
        params: &[Param::key(Role::READ), Param::required("offset", Integer, "The bit, counted from 0")],
        reply: Shape::Integer,
        mode: Mode::Call,
        access: Access::read(&[Read, Bitmap, Fast]),
        idempotent: true,
        split: Split::Never,
        routes: &[],
        errors: &[Code::WrongType],
        example: Example { given: &["SETBIT a 7 1"], arguments: r#"{"key":"a","offset":7}"#, answer: r#"{"result":1}"#, exact: true },
    },
    Operation {
        name: "setbit",
        command: Command::new(&["SETBIT"]),
        group: Group::Bitmaps,
        summary: "Sets a bit of a string, which grows where it is too short; the result is the bit before",
        since: Since::both("2.2.0"),
        params: &[
            Param::key(Role::READ_WRITE),
            Param::required("offset", Integer, "The bit, counted from 0"),
            Param::required("value", Integer, "1 or 0"),
        ],
        reply: Shape::Integer,
        mode: Mode::Call,
        access: Access::write(&[Write, Bitmap, Slow]),
        idempotent: false,
        split: Split::Never,
        routes: &[],
        errors: &[Code::WrongType, Code::RedisError],
        example: Example { given: &[], arguments: r#"{"key":"a","offset":7,"value":1}"#, answer: r#"{"result":0}"#, exact: true },
    },
];
