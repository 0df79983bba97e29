//! What takes several commands and has to be one: scripts that the server runs whole, with nothing in between. A script is the
//! first word of an EVAL, so that a server that has lost its scripts runs it all the same, also in a pipeline.
//! Each reads and writes the keys it is given and no others, and its summary is what it promises.

use super::access::Category::{Read, Scripting, Slow, Write};
use super::param::Kind::{Bytes, Choice, Integer, Key};
use super::param::{Count, Kind, Layout, Param, Role, Word};
use super::route::{Method::Put, Projection, Route};
use super::shape::{Field, Shape};
use super::{Access, Command, Example, Group, Mode, Operation, Since, Split};
use crate::error::Code;

const EVAL: Command = Command::new(&["EVAL"]);
/// The versions whose scripts may read the time and then write.
const SINCE: Since = Since::both("7.0.0");
const ONE_KEY: Param = Param::fixed("1");
const ACCESS: Access = Access::write(&[Read, Write, Slow, Scripting]);
const END: &[Word] = &[Word { name: "left", token: "LEFT" }, Word { name: "right", token: "RIGHT" }];
const EX: Param = Param::option("ex", "EX", Integer, "Seconds to live");
const PX: Param = Param::option("px", "PX", Integer, "Milliseconds to live");
const TTL: &[Param] = &[EX, PX];
const COST: Param = Param::required("cost", Integer, "How much of the limit the call takes").default("1");
const LIMITED: Shape = Shape::Record(&[
    Field::new("allowed", Shape::Integer),
    Field::new("remaining", Shape::Integer),
    Field::new("retry_after", Shape::Integer),
]);

/// The operations of the group, in the order of their names.
pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        name: "add_unique_and_trim",
        command: EVAL,
        group: Group::Recipes,
        summary: "Puts elements at the left end of a list, each once, and drops the oldest; the list never has one of them twice, nor more than \
                  `maxlen` elements. The result is its length",
        since: SINCE,
        params: &[
            Param::fixed(include_str!("scripts/add_unique_and_trim.lua")),
            ONE_KEY,
            Param::key(Role::READ_WRITE),
            Param::required("maxlen", Integer, "The most elements that the list keeps"),
            Param::required("elements", Kind::List(&Bytes, Count::Omitted), "The elements; the last one ends at the left"),
        ],
        reply: Shape::Integer,
        mode: Mode::Call,
        access: ACCESS,
        idempotent: true,
        split: Split::Never,
        routes: &[],
        errors: &[Code::WrongType, Code::RedisError],
        example: Example {
            given: &["RPUSH a 1 2 3"],
            arguments: r#"{"key":"a","maxlen":3,"elements":["2","4"]}"#,
            answer: r#"{"result":3}"#,
            exact: true,
        },
    },
    Operation {
        name: "compare_and_delete",
        command: EVAL,
        group: Group::Recipes,
        summary: "Removes a string if it is what the caller expects: of many callers that expect the same, one succeeds. The result is 1 or 0",
        since: SINCE,
        params: &[
            Param::fixed(include_str!("scripts/compare_and_delete.lua")),
            ONE_KEY,
            Param::key(Role::READ_DELETE),
            Param::required("equals", Bytes, "What has to be stored"),
        ],
        reply: Shape::Integer,
        mode: Mode::Call,
        access: ACCESS,
        idempotent: false,
        split: Split::Never,
        routes: &[],
        errors: &[Code::WrongType],
        example: Example { given: &["SET a mine"], arguments: r#"{"key":"a","equals":"mine"}"#, answer: r#"{"result":1}"#, exact: true },
    },
    Operation {
        name: "compare_and_set",
        command: EVAL,
        group: Group::Recipes,
        summary: "Stores a string if what is there is what the caller expects: of many callers that expect the same, one succeeds. The result is 1 or 0",
        since: SINCE,
        params: &[
            Param::fixed(include_str!("scripts/compare_and_set.lua")),
            ONE_KEY,
            Param::key(Role::READ_WRITE),
            Param::required("value", Bytes, "What to store"),
            Param::exactly_one_of(
                "expected",
                &[
                    Param::option("equals", "EQUALS", Bytes, "What has to be stored"),
                    Param::flag("absent", "ABSENT", "Nothing may be stored"),
                ],
            ),
            Param::one_of("expiration", &[EX, PX, Param::flag("keepttl", "KEEPTTL", "Keep the time to live")]),
        ],
        reply: Shape::Integer,
        mode: Mode::Call,
        access: ACCESS,
        idempotent: false,
        split: Split::Never,
        routes: &[],
        errors: &[Code::WrongType, Code::RedisError],
        example: Example {
            given: &["SET a old"],
            arguments: r#"{"key":"a","value":"new","equals":"old","ex":60}"#,
            answer: r#"{"result":1}"#,
            exact: true,
        },
    },
    Operation {
        name: "increment_with_bounds",
        command: EVAL,
        group: Group::Recipes,
        summary: "Adds to a counter if the sum is within bounds; else nothing changes, and `applied` is 0. No call takes it beyond them",
        since: SINCE,
        params: &[
            Param::fixed(include_str!("scripts/increment_with_bounds.lua")),
            ONE_KEY,
            Param::key(Role::READ_WRITE),
            Param::required("increment", Integer, "What to add").default("1"),
            Param::option("min", "MIN", Integer, "The least the sum may be"),
            Param::option("max", "MAX", Integer, "The most the sum may be"),
        ],
        reply: Shape::Record(&[Field::new("value", Shape::Integer), Field::new("applied", Shape::Integer)]),
        mode: Mode::Call,
        access: ACCESS,
        idempotent: false,
        split: Split::Never,
        routes: &[],
        errors: &[Code::WrongType, Code::RedisError],
        example: Example {
            given: &["SET stock 9223372036854775806"],
            arguments: r#"{"key":"stock","increment":-1,"min":9223372036854775806}"#,
            answer: r#"{"result":{"value":9223372036854775806,"applied":0}}"#,
            exact: true,
        },
    },
    Operation {
        name: "increment_with_ttl",
        command: EVAL,
        group: Group::Recipes,
        summary: "Adds to a counter that expires: its time begins with the first call and no later one moves it, and it is never without one. `ttl` is \
                  what is left, in milliseconds",
        since: SINCE,
        params: &[
            Param::fixed(include_str!("scripts/increment_with_ttl.lua")),
            ONE_KEY,
            Param::key(Role::READ_WRITE),
            Param::required("increment", Integer, "What to add").default("1"),
            Param::exactly_one_of("expiration", TTL),
        ],
        reply: Shape::Record(&[Field::new("value", Shape::Integer), Field::new("ttl", Shape::Integer)]),
        mode: Mode::Call,
        access: ACCESS,
        idempotent: false,
        split: Split::Never,
        routes: &[],
        errors: &[Code::WrongType, Code::RedisError],
        example: Example {
            given: &[],
            arguments: r#"{"key":"visits","ex":60}"#,
            answer: r#"{"result":{"value":1,"ttl":60000}}"#,
            exact: false,
        },
    },
    Operation {
        name: "limit_sliding_window",
        command: EVAL,
        group: Group::Recipes,
        summary: "Allows a call or not: no window of that length, wherever it begins, has more than `limit` of them. It keeps an entry for each call that it \
                  allows; `retry_after` is in milliseconds, -1 for never",
        since: SINCE,
        params: &[
            Param::fixed(include_str!("scripts/limit_sliding_window.lua")),
            ONE_KEY,
            Param::key(Role::READ_WRITE),
            Param::required("limit", Integer, "How many calls a window may have"),
            Param::required("window", Integer, "Its length in milliseconds"),
            COST,
        ],
        reply: LIMITED,
        mode: Mode::Call,
        access: ACCESS,
        idempotent: false,
        split: Split::Never,
        routes: &[],
        errors: &[Code::WrongType, Code::RedisError],
        example: Example {
            given: &[],
            arguments: r#"{"key":"caller:1","limit":10,"window":60000}"#,
            answer: r#"{"result":{"allowed":1,"remaining":9,"retry_after":0}}"#,
            exact: true,
        },
    },
    Operation {
        name: "limit_token_bucket",
        command: EVAL,
        group: Group::Recipes,
        summary: "Allows a call or not: in any time no more are allowed than `capacity` and what is refilled in it. It keeps two numbers; `retry_after` is in \
                  milliseconds, -1 for never",
        since: SINCE,
        params: &[
            Param::fixed(include_str!("scripts/limit_token_bucket.lua")),
            ONE_KEY,
            Param::key(Role::READ_WRITE),
            Param::required("capacity", Integer, "How many calls a full bucket allows"),
            Param::required("refill", Integer, "How many are added in an interval, evenly"),
            Param::required("interval", Integer, "Its length in milliseconds"),
            COST,
        ],
        reply: LIMITED,
        mode: Mode::Call,
        access: ACCESS,
        idempotent: false,
        split: Split::Never,
        routes: &[],
        errors: &[Code::WrongType, Code::RedisError],
        example: Example {
            given: &[],
            arguments: r#"{"key":"caller:1","capacity":10,"refill":1,"interval":60000}"#,
            answer: r#"{"result":{"allowed":1,"remaining":9,"retry_after":0}}"#,
            exact: true,
        },
    },
    Operation {
        name: "pop_many_and_move",
        command: EVAL,
        group: Group::Recipes,
        summary: "Takes elements from an end of a list and adds them, one after the other, to an end of another: each is in one of the two at any \
                  time, and one caller gets it. The result is what was moved",
        since: SINCE,
        params: &[
            Param::fixed(include_str!("scripts/pop_many_and_move.lua")),
            Param::fixed("2"),
            Param::required("source", Key(Role::READ_DELETE), "The list to take from"),
            Param::required("destination", Key(Role::WRITE), "The list to add to"),
            Param::required("count", Integer, "The most elements to move"),
            Param::required("wherefrom", Choice(END), "The end to take from"),
            Param::required("whereto", Choice(END), "The end to add to"),
        ],
        reply: Shape::List(&Shape::Bytes),
        mode: Mode::Call,
        access: ACCESS,
        idempotent: false,
        split: Split::Never,
        routes: &[],
        errors: &[Code::WrongType, Code::RedisError],
        example: Example {
            given: &["RPUSH todo 1 2 3"],
            arguments: r#"{"source":"todo","destination":"doing","count":2,"wherefrom":"left","whereto":"right"}"#,
            answer: r#"{"result":["1","2"]}"#,
            exact: true,
        },
    },
    Operation {
        name: "replace_hash",
        command: EVAL,
        group: Group::Recipes,
        summary: "Stores a hash that has these fields and no others, in place of the one before and of its time to live: a reader sees the one or the \
                  other, whole. The result is how many fields it has",
        since: SINCE,
        params: &[
            Param::fixed(include_str!("scripts/replace_hash.lua")),
            ONE_KEY,
            Param::key(Role::WRITE),
            Param::required("fields", Kind::Pairs(&Bytes, &Bytes, Layout::Counted), "Fields and their values"),
            Param::one_of("expiration", TTL),
        ],
        reply: Shape::Integer,
        mode: Mode::Call,
        access: ACCESS,
        idempotent: true,
        split: Split::Never,
        routes: &[Route::only(Put, "/hashes/{key}", Projection::Collection)],
        errors: &[Code::WrongType, Code::RedisError],
        example: Example {
            given: &["HSET a f 1 g 2"],
            arguments: r#"{"key":"a","fields":{"f":"3"}}"#,
            answer: r#"{"result":1}"#,
            exact: true,
        },
    },
    Operation {
        name: "set_many_with_ttl",
        command: EVAL,
        group: Group::Recipes,
        summary: "Stores several strings that expire at the same time: a reader sees all of them or none",
        since: SINCE,
        params: &[
            Param::fixed(include_str!("scripts/set_many_with_ttl.lua")),
            Param::required("values", Kind::Pairs(&Key(Role::WRITE), &Bytes, Layout::CountedColumns), "Keys and what to store in them"),
            Param::exactly_one_of("expiration", TTL),
        ],
        reply: Shape::Word,
        mode: Mode::Call,
        access: ACCESS,
        idempotent: true,
        split: Split::Never,
        routes: &[],
        errors: &[Code::RedisError],
        example: Example { given: &[], arguments: r#"{"values":{"a":"1","b":"2"},"ex":60}"#, answer: r#"{"result":"OK"}"#, exact: true },
    },
];
