//! Transactions.

use super::access::Category::{Fast, Slow, Transaction};
use super::param::Kind::Key;
use super::param::{Param, Role};
use super::shape::Shape;
use super::{Access, Command, Example, Group, Mode, Operation, Since, Split};
use crate::error::Code;

const WHY: &str = "A transaction is about its own connection, which takes a session over a WebSocket";

/// The operations of the group, in the order of their names.
pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        name: "discard",
        command: Command::new(&["DISCARD"]),
        group: Group::Transactions,
        summary: "Gives a transaction up",
        since: Since::both("2.0.0"),
        params: &[],
        reply: Shape::Word,
        mode: Mode::Session(WHY),
        access: Access::open(&[Fast, Transaction]),
        idempotent: false,
        split: Split::Never,
        routes: &[],
        errors: &[Code::WrongTransport],
        example: Example { given: &[], arguments: r#"{}"#, answer: r#"{"result":"OK"}"#, exact: true },
    },
    Operation {
        name: "exec",
        command: Command::new(&["EXEC"]),
        group: Group::Transactions,
        summary: "Carries a transaction out; null if a watched key has changed",
        since: Since::both("1.2.0"),
        params: &[],
        reply: Shape::Raw,
        mode: Mode::Session(WHY),
        access: Access::open(&[Slow, Transaction]),
        idempotent: false,
        split: Split::Never,
        routes: &[],
        errors: &[Code::WrongTransport],
        example: Example { given: &[], arguments: r#"{}"#, answer: r#"{"result":["OK"]}"#, exact: true },
    },
    Operation {
        name: "multi",
        command: Command::new(&["MULTI"]),
        group: Group::Transactions,
        summary: "Begins a transaction",
        since: Since::both("1.2.0"),
        params: &[],
        reply: Shape::Word,
        mode: Mode::Session(WHY),
        access: Access::open(&[Fast, Transaction]),
        idempotent: false,
        split: Split::Never,
        routes: &[],
        errors: &[Code::WrongTransport],
        example: Example { given: &[], arguments: r#"{}"#, answer: r#"{"result":"OK"}"#, exact: true },
    },
    Operation {
        name: "unwatch",
        command: Command::new(&["UNWATCH"]),
        group: Group::Transactions,
        summary: "Watches no key any more",
        since: Since::both("2.2.0"),
        params: &[],
        reply: Shape::Word,
        mode: Mode::Session(WHY),
        access: Access::open(&[Fast, Transaction]),
        idempotent: true,
        split: Split::Never,
        routes: &[],
        errors: &[Code::WrongTransport],
        example: Example { given: &[], arguments: r#"{}"#, answer: r#"{"result":"OK"}"#, exact: true },
    },
    Operation {
        name: "watch",
        command: Command::new(&["WATCH"]),
        group: Group::Transactions,
        summary: "Lets the next transaction fail if a key changes before it",
        since: Since::both("2.2.0"),
        params: &[Param::keys(&Key(Role::METADATA))],
        reply: Shape::Word,
        mode: Mode::Session(WHY),
        access: Access::open(&[Fast, Transaction]),
        idempotent: true,
        split: Split::Never,
        routes: &[],
        errors: &[Code::WrongTransport],
        example: Example { given: &[], arguments: r#"{"keys":["a"]}"#, answer: r#"{"result":"OK"}"#, exact: true },
    },
];
