//! What a caller can do, as data. Each file of a group holds its entries; routes, validation, encoding, rendering,
//! authorization, metric labels and OpenAPI are readings of them. Adding a Redis command is adding one entry.

mod access;
pub mod arguments;
pub mod asyncapi;
mod bitmaps;
pub mod bounds;
mod cluster;
mod connection;
pub mod encode;
pub mod event;
mod geo;
mod hashes;
mod headers;
mod hyperloglog;
mod json;
mod keys;
mod links;
mod lists;
pub mod observe;
pub mod openapi;
pub mod param;
pub mod position;
mod pubsub;
mod read;
mod recipes;
pub mod reference;
pub mod render;
pub mod resolve;
pub mod route;
#[cfg(test)]
mod samples;
mod schema;
mod scripting;
mod server;
mod sets;
pub mod shape;
mod sorted_sets;
mod split;
mod streams;
mod strings;
#[cfg(test)]
mod tests;
pub mod text;
mod transactions;
pub mod undo;
mod write;

use std::collections::HashMap;
use std::sync::OnceLock;

pub use access::{Access, Category, Class};
use param::Param;
pub use read::{base64, bytes};
use route::Route;
use shape::Shape;
pub use split::{Split, Together};

use crate::error::{Code, Error};

/// One thing a caller can do.
#[derive(Debug)]
pub struct Operation {
    /// The command's words in lower case, joined by `_`, or a recipe's own name; a path segment, a metric label, a span name.
    pub name: &'static str,
    /// The command.
    pub command: Command,
    /// Where it is documented.
    pub group: Group,
    /// What it does, in one sentence.
    pub summary: &'static str,
    /// The first versions that have it.
    pub since: Since,
    /// Its arguments, in the order in which they are sent.
    pub params: &'static [Param],
    /// How its reply is rendered, unless an argument selects another shape.
    pub reply: Shape,
    /// How it uses a connection.
    pub mode: Mode,
    /// What a caller needs to be granted.
    pub access: Access,
    /// Doing it twice is doing it once, the reply included; an argument may take that away.
    pub idempotent: bool,
    /// What a cluster makes of it when its keys live on several nodes.
    pub split: Split,
    /// Where it is found as a resource.
    pub routes: &'static [Route],
    /// The errors a caller should expect from it, beside those every operation has.
    pub errors: &'static [Code],
    /// One call of it, run against a server by the tests.
    pub example: Example,
}

impl Operation {
    /// What a cluster makes of it, for its documentation; `None` where its key says it all.
    pub fn in_cluster(&self) -> Option<&'static str> {
        match (self.mode, self.split) {
            (Mode::Call, Split::Never) if !position::has_keys(self) => Split::Nodes(Together::Apart).about(),
            (Mode::Call, split) => split.about(),
            _ => None,
        }
    }

    /// Whether it can change data.
    pub fn changes(&self) -> bool {
        self.access.class == Class::Write || self.access.categories.contains(&Category::Write)
    }
}

/// A command's words and the bytes they are sent as.
#[derive(Debug)]
pub struct Command {
    /// The words, in upper case.
    pub words: &'static [&'static str],
    head: [u8; Command::HEAD],
    length: usize,
}

impl Command {
    const HEAD: usize = 64;

    /// Takes the words in upper case. The encoded form is made at compile time.
    pub const fn new(words: &'static [&'static str]) -> Self {
        let mut head = [0; Self::HEAD];
        let mut at = 0;
        let start = b"*0\r\n";
        while at < start.len() {
            head[at] = start[at];
            at += 1;
        }
        let mut word = 0;
        while word < words.len() {
            let bytes = words[word].as_bytes();
            head[at] = b'$';
            at += 1;
            if bytes.len() > 9 {
                head[at] = b'0' + (bytes.len() / 10) as u8;
                at += 1;
            }
            head[at] = b'0' + (bytes.len() % 10) as u8;
            head[at + 1] = b'\r';
            head[at + 2] = b'\n';
            at += 3;
            let mut byte = 0;
            while byte < bytes.len() {
                head[at] = bytes[byte];
                at += 1;
                byte += 1;
            }
            head[at] = b'\r';
            head[at + 1] = b'\n';
            at += 2;
            word += 1;
        }
        Self { words, head, length: at }
    }

    /// The encoded words behind an array header of one digit that has yet to be set.
    fn head(&self) -> &[u8] {
        &self.head[..self.length]
    }
}

/// A family of operations that are documented together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// Strings and counters.
    Strings,
    /// What works on keys of every type.
    Keys,
    /// Hashes and their fields.
    Hashes,
    /// Lists.
    Lists,
    /// Sets.
    Sets,
    /// Sorted sets.
    SortedSets,
    /// Places on the earth.
    Geo,
    /// Counts of different elements.
    HyperLogLog,
    /// Bitmaps and bit fields.
    Bitmaps,
    /// Streams and their consumer groups.
    Streams,
    /// Channels.
    Pubsub,
    /// Scripts and libraries of functions.
    Scripting,
    /// Scripts of the gateway's own.
    Recipes,
    /// Transactions.
    Transactions,
    /// JSON documents.
    Json,
    /// What concerns one connection.
    Connection,
    /// Managing a server.
    Server,
    /// Managing a cluster.
    Cluster,
}

impl Group {
    /// Its name in URLs and tags.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Strings => "strings",
            Self::Keys => "keys",
            Self::Hashes => "hashes",
            Self::Lists => "lists",
            Self::Sets => "sets",
            Self::SortedSets => "sorted-sets",
            Self::Geo => "geo",
            Self::HyperLogLog => "hyperloglog",
            Self::Bitmaps => "bitmaps",
            Self::Streams => "streams",
            Self::Pubsub => "pubsub",
            Self::Scripting => "scripting",
            Self::Recipes => "recipes",
            Self::Transactions => "transactions",
            Self::Json => "json",
            Self::Connection => "connection",
            Self::Server => "server",
            Self::Cluster => "cluster",
        }
    }

    /// Its name for people.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Strings => "Strings",
            Self::Keys => "Keys",
            Self::Hashes => "Hashes",
            Self::Lists => "Lists",
            Self::Sets => "Sets",
            Self::SortedSets => "Sorted sets",
            Self::Geo => "Geo",
            Self::HyperLogLog => "HyperLogLog",
            Self::Bitmaps => "Bitmaps",
            Self::Streams => "Streams",
            Self::Pubsub => "Channels",
            Self::Scripting => "Scripts and functions",
            Self::Recipes => "Recipes",
            Self::Transactions => "Transactions",
            Self::Json => "JSON",
            Self::Connection => "Connections",
            Self::Server => "Server",
            Self::Cluster => "Cluster",
        }
    }
}

/// The first version of each server family that has the command; `None` where no version has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since {
    /// Redis.
    pub redis: Option<&'static str>,
    /// Valkey, which began as Redis 7.2.4.
    pub valkey: Option<&'static str>,
}

impl Since {
    /// In Redis since a version that Valkey began from.
    pub const fn both(redis: &'static str) -> Self {
        Self { redis: Some(redis), valkey: Some("7.2.4") }
    }
}

/// How an operation uses a connection. What is not a call says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One reply, at once: it can share a connection.
    Call,
    /// One reply, later: others would wait behind it.
    Blocking(&'static str),
    /// Many replies.
    Streaming(&'static str),
    /// It changes or depends on the state of its connection.
    Session(&'static str),
}

impl Mode {
    /// Whether it can be called on its own: there is one reply, sooner or later.
    pub fn has_reply(self) -> bool {
        matches!(self, Self::Call | Self::Blocking(_))
    }

    /// Why it cannot share a connection with other calls: `wrong_transport`.
    pub fn refusal(self) -> Option<Error> {
        match self {
            Self::Call => None,
            Self::Blocking(reason) | Self::Streaming(reason) | Self::Session(reason) => Some(Error::new(Code::WrongTransport, reason)),
        }
    }
}

/// A call and what it answers.
#[derive(Clone, Copy, Debug)]
pub struct Example {
    /// Commands that make the data it works on.
    pub given: &'static [&'static str],
    /// The arguments, a JSON object.
    pub arguments: &'static str,
    /// The answer, a JSON object.
    pub answer: &'static str,
    /// The answer is this to the byte; else only its shape is.
    pub exact: bool,
}

/// An operation's place in the table: small and dense, so that what is kept for each operation can be an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(u16);

impl Id {
    /// Its entry.
    pub fn operation(self) -> &'static Operation {
        ALL[self.index()]
    }

    /// Counted from 0, below `all().len()`.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

const GROUPS: &[&[Operation]] = &[
    strings::OPERATIONS,
    keys::OPERATIONS,
    hashes::OPERATIONS,
    lists::OPERATIONS,
    sets::OPERATIONS,
    sorted_sets::OPERATIONS,
    geo::OPERATIONS,
    hyperloglog::OPERATIONS,
    bitmaps::OPERATIONS,
    streams::OPERATIONS,
    pubsub::OPERATIONS,
    scripting::OPERATIONS,
    recipes::OPERATIONS,
    transactions::OPERATIONS,
    json::OPERATIONS,
    connection::OPERATIONS,
    server::OPERATIONS,
    cluster::OPERATIONS,
];

const COUNT: usize = {
    let (mut count, mut group) = (0, 0);
    while group < GROUPS.len() {
        count += GROUPS[group].len();
        group += 1;
    }
    count
};

static ALL: [&Operation; COUNT] = {
    let mut all = [&GROUPS[0][0]; COUNT];
    let (mut at, mut group) = (0, 0);
    while group < GROUPS.len() {
        let mut entry = 0;
        while entry < GROUPS[group].len() {
            all[at] = &GROUPS[group][entry];
            at += 1;
            entry += 1;
        }
        group += 1;
    }
    all
};

/// Every operation; `Id` is the index.
pub fn all() -> &'static [&'static Operation] {
    &ALL
}

/// Every operation's id.
pub fn ids() -> impl Iterator<Item = Id> {
    (0..COUNT).map(|index| Id(u16::try_from(index).expect("there are not as many commands as that")))
}

/// The operation of that name.
pub fn find(name: &str) -> Option<Id> {
    static BY_NAME: OnceLock<HashMap<&str, Id>> = OnceLock::new();
    BY_NAME.get_or_init(|| ids().map(|id| (id.operation().name, id)).collect()).get(name).copied()
}
