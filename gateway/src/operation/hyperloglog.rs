//! HyperLogLogs: how many different elements there were, without keeping them.

use super::access::Category::{Fast, Hyperloglog, Read, Slow, Write};
use super::param::Kind::{self, Bytes, Key};
use super::param::{Count, Param, Role};
use super::shape::Shape;
use super::{Access, Command, Example, Group, Mode, Operation, Since, Split};
use crate::error::Code;

/// The operations of the group, in the order of their names.
pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        name: "pfadd",
        command: Command::new(&["PFADD"]),
        group: Group::HyperLogLog,
        summary: "Counts elements in a HyperLogLog; 1 if its estimate has changed",
        since: Since::both("2.8.9"),
        params: &[
            Param::key(Role::WRITE),
            Param::optional("elements", Kind::List(&Bytes, Count::Omitted), "What to count; the key alone is made without"),
        ],
        reply: Shape::Integer,
        mode: Mode::Call,
        access: Access::write(&[Write, Hyperloglog, Fast]),
        idempotent: false,
        split: Split::Never,
        routes: &[],
        errors: &[Code::WrongType],
        example: Example { given: &[], arguments: r#"{"key":"a","elements":["x","y"]}"#, answer: r#"{"result":1}"#, exact: true },
    },
    Operation {
        name: "pfcount",
        command: Command::new(&["PFCOUNT"]),
        group: Group::HyperLogLog,
        summary: "About how many different elements were counted in the keys together",
        since: Since::both("2.8.9"),
        params: &[Param::keys(&Key(Role::READ))],
        reply: Shape::Integer,
        mode: Mode::Call,
        access: Access::read(&[Read, Hyperloglog, Slow]),
        idempotent: true,
        split: Split::Never,
        routes: &[],
        errors: &[Code::WrongType],
        example: Example {
            given: &["PFADD a x y", "PFADD b y z"],
            arguments: r#"{"keys":["a","b"]}"#,
            answer: r#"{"result":3}"#,
            exact: true,
        },
    },
    Operation {
        name: "pfmerge",
        command: Command::new(&["PFMERGE"]),
        group: Group::HyperLogLog,
        summary: "Adds HyperLogLogs to one, which is made if it is missing",
        since: Since::both("2.8.9"),
        params: &[
            Param::required("destkey", Key(Role::READ_WRITE), "The one to add to"),
            Param::required("sourcekeys", Kind::List(&Key(Role::READ), Count::Omitted), "Those to add"),
        ],
        reply: Shape::Word,
        mode: Mode::Call,
        access: Access::write(&[Write, Hyperloglog, Slow]),
        idempotent: true,
        split: Split::Never,
        routes: &[],
        errors: &[Code::WrongType],
        example: Example {
            given: &["PFADD a x", "PFADD b y"],
            arguments: r#"{"destkey":"c","sourcekeys":["a","b"]}"#,
            answer: r#"{"result":"OK"}"#,
            exact: true,
        },
    },
];
