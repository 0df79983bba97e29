//! Places: sorted sets whose scores are positions on the earth.

use super::access::Category::{Geo, Read, Slow, Write};
use super::param::Kind::{self, Bytes, Double, Integer, Key};
use super::param::{Count, Effect, Param, Role, Word};
use super::shape::{Field, Shape};
use super::{Access, Command, Example, Group, Mode, Operation, Since, Split};
use crate::error::Code;

const MEMBER: Param = Param::required("member", Bytes, "The member");
const MEMBERS: Param = Param::required("members", Kind::List(&Bytes, Count::Omitted), "The members");
const LONGITUDE: Param = Param::required("longitude", Double, "Degrees east");
const LATITUDE: Param = Param::required("latitude", Double, "Degrees north");

const UNITS: &[Word] =
    &[Word { name: "m", token: "M" }, Word { name: "km", token: "KM" }, Word { name: "ft", token: "FT" }, Word { name: "mi", token: "MI" }];
const UNIT: Param = Param::required("unit", Kind::Choice(UNITS), "The unit of lengths");

const FROM: Param = Param::exactly_one_of(
    "from",
    &[
        Param::option("frommember", "FROMMEMBER", Bytes, "Around this member"),
        Param::option("fromlonlat", "FROMLONLAT", Kind::Object(&[LONGITUDE, LATITUDE]), "Around this point"),
    ],
)
.instead("bypolygon");
const BY: Param = Param::exactly_one_of(
    "by",
    &[
        Param::option(
            "byradius",
            "BYRADIUS",
            Kind::Object(&[Param::required("radius", Double, "How far away at most"), UNIT]),
            "Within a circle",
        ),
        Param::option(
            "bybox",
            "BYBOX",
            Kind::Object(&[
                Param::required("width", Double, "From east to west"),
                Param::required("height", Double, "From north to south"),
                UNIT,
            ]),
            "Within a box",
        ),
        Param::option(
            "bypolygon",
            "BYPOLYGON",
            Kind::Object(&[Param::required("vertices", Kind::Objects(&[LONGITUDE, LATITUDE], Count::Sent), "Its corners, at least three")]),
            "Within a polygon, without a centre",
        )
        .since(None, Some("9.0.0")),
    ],
);

const ORDER: Param =
    Param::one_of("order", &[Param::flag("asc", "ASC", "The nearest first"), Param::flag("desc", "DESC", "The farthest first")]);
const COUNT: Param = Param::option("count", "COUNT", Integer, "How many at most, the nearest first");
const ANY: Param = Param::flag("any", "ANY", "The first that are found, near or not").requires("count").since(Some("6.2.0"), Some("7.2.4"));

const POSITION: Shape = Shape::Record(&[Field::new("longitude", Shape::Double), Field::new("latitude", Shape::Double)]);
const FOUND: Effect = Effect::Shape(Shape::List(&Shape::Record(&[
    Field::new("member", Shape::Bytes),
    Field::column("distance", Shape::Double, 0),
    Field::column("hash", Shape::Integer, 1),
    Field::column("position", POSITION, 2),
])));
const WITHCOORD: Param = Param::flag("withcoord", "WITHCOORD", "Answer with where they are").effects(&[FOUND, Effect::Column(2)]);
const WITHDIST: Param = Param::flag("withdist", "WITHDIST", "Answer with how far away they are").effects(&[FOUND, Effect::Column(0)]);
const WITHHASH: Param =
    Param::flag("withhash", "WITHHASH", "Answer with their scores, which are geohashes").effects(&[FOUND, Effect::Column(1)]);

/// Stored over their own source, another call finds others.
const STORED: &[Effect] = &[Effect::Shape(Shape::Integer), Effect::Once];
const STORE: Param = Param::one_of(
    "store",
    &[
        Param::option("store", "STORE", Key(Role::WRITE), "Put them at this key and answer with their number").effects(STORED),
        Param::option("storedist", "STOREDIST", Key(Role::WRITE), "Put them at this key with the distances as scores").effects(STORED),
    ],
);

/// The operations of the group, in the order of their names.
pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        name: "geoadd",
        command: Command::new(&["GEOADD"]),
        group: Group::Geo,
        summary: "Adds places to a sorted set, or moves them; the result is how many are new",
        since: Since::both("3.2.0"),
        params: &[
            Param::key(Role::WRITE),
            Param::one_of(
                "condition",
                &[
                    Param::flag("nx", "NX", "Only members that are missing").since(Some("6.2.0"), Some("7.2.4")),
                    Param::flag("xx", "XX", "Only members that are there").since(Some("6.2.0"), Some("7.2.4")),
                ],
            ),
            Param::flag("ch", "CH", "Count members that have moved as well").since(Some("6.2.0"), Some("7.2.4")),
            Param::required("members", Kind::Objects(&[LONGITUDE, LATITUDE, MEMBER], Count::Omitted), "Members and where they are"),
        ],
        reply: Shape::Integer,
        mode: Mode::Call,
        access: Access::write(&[Write, Geo, Slow]),
        idempotent: false,
        split: Split::Never,
        routes: &[],
        errors: &[Code::WrongType, Code::RedisError],
        example: Example {
            given: &[],
            arguments: r#"{"key":"a","members":[{"member":"Palermo","longitude":13.361389,"latitude":38.115556}]}"#,
            answer: r#"{"result":1}"#,
            exact: true,
        },
    },
    Operation {
        name: "geodist",
        command: Command::new(&["GEODIST"]),
        group: Group::Geo,
        summary: "How far apart two members are; null if one is missing",
        since: Since::both("3.2.0"),
        params: &[
            Param::key(Role::READ),
            Param::required("member1", Bytes, "A member"),
            Param::required("member2", Bytes, "Another member"),
            Param::optional("unit", Kind::Choice(UNITS), "The unit; metres without it"),
        ],
        reply: Shape::Nullable(&Shape::Double),
        mode: Mode::Call,
        access: Access::read(&[Read, Geo, Slow]),
        idempotent: true,
        split: Split::Never,
        routes: &[],
        errors: &[Code::WrongType],
        example: Example {
            given: &["GEOADD a 13.361389 38.115556 Palermo 15.087269 37.502669 Catania"],
            arguments: r#"{"key":"a","member1":"Palermo","member2":"Catania","unit":"km"}"#,
            answer: r#"{"result":166.2742}"#,
            exact: true,
        },
    },
    Operation {
        name: "geohash",
        command: Command::new(&["GEOHASH"]),
        group: Group::Geo,
        summary: "Where members are, as geohashes of 11 characters; null for each that is missing",
        since: Since::both("3.2.0"),
        params: &[Param::key(Role::READ), MEMBERS],
        reply: Shape::List(&Shape::Nullable(&Shape::Word)),
        mode: Mode::Call,
        access: Access::read(&[Read, Geo, Slow]),
        idempotent: true,
        split: Split::Never,
        routes: &[],
        errors: &[Code::WrongType],
        example: Example {
            given: &["GEOADD a 13.361389 38.115556 Palermo 15.087269 37.502669 Catania"],
            arguments: r#"{"key":"a","members":["Palermo","missing"]}"#,
            answer: r#"{"result":["sqc8b49rny0",null]}"#,
            exact: true,
        },
    },
    Operation {
        name: "geopos",
        command: Command::new(&["GEOPOS"]),
        group: Group::Geo,
        summary: "Where members are; null for each that is missing",
        since: Since::both("3.2.0"),
        params: &[Param::key(Role::READ), MEMBERS],
        reply: Shape::List(&Shape::Nullable(&POSITION)),
        mode: Mode::Call,
        access: Access::read(&[Read, Geo, Slow]),
        idempotent: true,
        split: Split::Never,
        routes: &[],
        errors: &[Code::WrongType],
        example: Example {
            given: &["GEOADD a 13.361389 38.115556 Palermo 15.087269 37.502669 Catania"],
            arguments: r#"{"key":"a","members":["Palermo","missing"]}"#,
            answer: r#"{"result":[{"longitude":13.36138933897018433,"latitude":38.11555639549629859},null]}"#,
            exact: true,
        },
    },
    Operation {
        name: "georadius",
        command: Command::new(&["GEORADIUS"]),
        group: Group::Geo,
        summary: "The members within a distance from a point, or stores them; the old form of `geosearch` and `geosearchstore`",
        since: Since::both("3.2.0"),
        params: &[
            Param::key(Role::READ),
            LONGITUDE,
            LATITUDE,
            Param::required("radius", Double, "How far away at most"),
            UNIT,
            WITHCOORD,
            WITHDIST,
            WITHHASH,
            COUNT,
            ANY,
            ORDER,
            STORE,
        ],
        reply: Shape::List(&Shape::Bytes),
        mode: Mode::Call,
        access: Access::write(&[Write, Geo, Slow]),
        idempotent: true,
        split: Split::Never,
        routes: &[],
        errors: &[Code::WrongType],
        example: Example {
            given: &["GEOADD a 13.361389 38.115556 Palermo 15.087269 37.502669 Catania"],
            arguments: r#"{"key":"a","longitude":15,"latitude":37,"radius":100,"unit":"km"}"#,
            answer: r#"{"result":["Catania"]}"#,
            exact: true,
        },
    },
    Operation {
        name: "georadius_ro",
        command: Command::new(&["GEORADIUS_RO"]),
        group: Group::Geo,
        summary: "The members within a distance from a point; the old form of `geosearch`",
        since: Since::both("3.2.10"),
        params: &[
            Param::key(Role::READ),
            LONGITUDE,
            LATITUDE,
            Param::required("radius", Double, "How far away at most"),
            UNIT,
            WITHCOORD,
            WITHDIST,
            WITHHASH,
            COUNT,
            ANY,
            ORDER,
        ],
        reply: Shape::List(&Shape::Bytes),
        mode: Mode::Call,
        access: Access::read(&[Read, Geo, Slow]),
        idempotent: true,
        split: Split::Never,
        routes: &[],
        errors: &[Code::WrongType, Code::NotUtf8],
        example: Example {
            given: &["GEOADD a 13.361389 38.115556 Palermo 15.087269 37.502669 Catania"],
            arguments: r#"{"key":"a","longitude":15,"latitude":37,"radius":100,"unit":"km","withdist":true}"#,
            answer: r#"{"result":[{"member":"Catania","distance":56.4413}]}"#,
            exact: true,
        },
    },
    Operation {
        name: "georadiusbymember",
        command: Command::new(&["GEORADIUSBYMEMBER"]),
        group: Group::Geo,
        summary: "The members within a distance from a member, or stores them; the old form of `geosearch` and `geosearchstore`",
        since: Since::both("3.2.0"),
        params: &[
            Param::key(Role::READ),
            MEMBER,
            Param::required("radius", Double, "How far away at most"),
            UNIT,
            WITHCOORD,
            WITHDIST,
            WITHHASH,
            COUNT,
            ANY,
            ORDER,
            STORE,
        ],
        reply: Shape::List(&Shape::Bytes),
        mode: Mode::Call,
        access: Access::write(&[Write, Geo, Slow]),
        idempotent: true,
        split: Split::Never,
        routes: &[],
        errors: &[Code::WrongType],
        example: Example {
            given: &["GEOADD a 13.361389 38.115556 Palermo 15.087269 37.502669 Catania"],
            arguments: r#"{"key":"a","member":"Catania","radius":100,"unit":"km"}"#,
            answer: r#"{"result":["Catania"]}"#,
            exact: true,
        },
    },
    Operation {
        name: "georadiusbymember_ro",
        command: Command::new(&["GEORADIUSBYMEMBER_RO"]),
        group: Group::Geo,
        summary: "The members within a distance from a member; the old form of `geosearch`",
        since: Since::both("3.2.10"),
        params: &[
            Param::key(Role::READ),
            MEMBER,
            Param::required("radius", Double, "How far away at most"),
            UNIT,
            WITHCOORD,
            WITHDIST,
            WITHHASH,
            COUNT,
            ANY,
            ORDER,
        ],
        reply: Shape::List(&Shape::Bytes),
        mode: Mode::Call,
        access: Access::read(&[Read, Geo, Slow]),
        idempotent: true,
        split: Split::Never,
        routes: &[],
        errors: &[Code::WrongType, Code::NotUtf8],
        example: Example {
            given: &["GEOADD a 13.361389 38.115556 Palermo 15.087269 37.502669 Catania"],
            arguments: r#"{"key":"a","member":"Catania","radius":100,"unit":"km","withdist":true}"#,
            answer: r#"{"result":[{"member":"Catania","distance":0.0000}]}"#,
            exact: true,
        },
    },
    Operation {
        name: "geosearch",
        command: Command::new(&["GEOSEARCH"]),
        group: Group::Geo,
        summary: "The members within a circle, a box or a polygon",
        since: Since::both("6.2.0"),
        params: &[Param::key(Role::READ), FROM, BY, ORDER, COUNT, ANY, WITHCOORD, WITHDIST, WITHHASH],
        reply: Shape::List(&Shape::Bytes),
        mode: Mode::Call,
        access: Access::read(&[Read, Geo, Slow]),
        idempotent: true,
        split: Split::Never,
        routes: &[],
        errors: &[Code::WrongType, Code::NotUtf8, Code::RedisError],
        example: Example {
            given: &["GEOADD a 13.361389 38.115556 Palermo 15.087269 37.502669 Catania"],
            arguments: r#"{"key":"a","fromlonlat":{"longitude":15,"latitude":37},"byradius":{"radius":200,"unit":"km"},"asc":true,"withdist":true}"#,
            answer: r#"{"result":[{"member":"Catania","distance":56.4413},{"member":"Palermo","distance":190.4424}]}"#,
            exact: true,
        },
    },
    Operation {
        name: "geosearchstore",
        command: Command::new(&["GEOSEARCHSTORE"]),
        group: Group::Geo,
        summary: "Stores the members within a circle, a box or a polygon; the result is how many there are",
        since: Since::both("6.2.0"),
        params: &[
            Param::required("destination", Key(Role::WRITE), "Where to store them, in place of what is there"),
            Param::required("source", Key(Role::READ), "The sorted set"),
            FROM,
            BY,
            ORDER,
            COUNT,
            ANY,
            Param::flag("storedist", "STOREDIST", "Store the distance as the score"),
        ],
        reply: Shape::Integer,
        mode: Mode::Call,
        access: Access::write(&[Write, Geo, Slow]),
        idempotent: false,
        split: Split::Never,
        routes: &[],
        errors: &[Code::WrongType, Code::RedisError],
        example: Example {
            given: &["GEOADD a 13.361389 38.115556 Palermo 15.087269 37.502669 Catania"],
            arguments: r#"{"destination":"b","source":"a","frommember":"Catania","bybox":{"width":400,"height":400,"unit":"km"}}"#,
            answer: r#"{"result":2}"#,
            exact: true,
        },
    },
];
