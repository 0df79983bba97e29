//! What a caller can do, as data. Each file of a group holds its entries; routes, validation, encoding, rendering,
//! authorization, metric labels and OpenAPI are readings of them. Adding a Redis command is adding one entry.

mod access;
pub mod arguments;
pub mod encode;
mod headers;
mod json;
mod keys;
pub mod openapi;
pub mod param;
pub mod position;
mod read;
pub mod render;
pub mod resolve;
pub mod route;
#[cfg(test)]
mod samples;
mod schema;
pub mod shape;
mod strings;

use std::collections::HashMap;
use std::sync::OnceLock;

pub use access::{Access, Category, Class};
use param::Param;
pub use read::base64;
use route::Route;
use shape::Shape;

use crate::error::{Code, Error};

/// One thing a caller can do.
#[derive(Debug)]
pub struct Operation {
    /// The command's words in lower case, joined by `_`; a path segment, a metric label, a span name.
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
    /// Why it cannot be called: it needs a connection of its own. `not_available_yet`.
    pub fn refusal(&self) -> Option<Error> {
        match self.mode {
            Mode::Call => None,
            Mode::Blocking(reason) | Mode::Streaming(reason) | Mode::Session(reason) => Some(Error::new(Code::NotAvailableYet, reason)),
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
}

impl Group {
    /// Its name in URLs and tags.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Strings => "strings",
            Self::Keys => "keys",
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

/// What is made of an operation whose keys live on several nodes of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// It is refused.
    Never,
    /// A part for each node; the elements of the replies are put in the order of the keys.
    Ordered,
    /// A part for each node; the replies are added up.
    Sum,
    /// A part for each node; it has succeeded if each has.
    AllSucceed,
    /// It has no key: every node has a part of the answer.
    Nodes,
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

const GROUPS: &[&[Operation]] = &[strings::OPERATIONS, keys::OPERATIONS];

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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use param::{Kind, Param};
    use route::Choice;

    /// Words of paths that are not operations.
    const RESERVED: &[&str] =
        &["ws", "pipeline", "transaction", "raw", "session", "cancel", "authenticate", "observe", "consume", "whoami"];

    /// Words of paths that begin resources. `keys` is an operation as well, which is called by POST alone; the resource has no POST.
    const RESOURCES: &[&str] =
        &["strings", "hashes", "lists", "sets", "sorted-sets", "streams", "channels", "scripts", "functions", "info", "cluster"];

    #[test]
    fn names_are_the_words_of_the_command() {
        for operation in all() {
            let name = operation.command.words.join("_").to_lowercase().replace(['-', '.', '|'], "_");
            assert_eq!(operation.name, name);
            assert!(operation.command.words.iter().all(|word| word.to_uppercase() == *word), "{name}");
            assert!(!RESERVED.contains(&operation.name), "{name} is reserved");
            assert!(!RESOURCES.contains(&operation.name), "{name} is a resource");
        }
        assert!(find("nonsense").is_none());
    }

    #[test]
    fn entries_are_in_order_and_found() {
        for group in GROUPS {
            assert!(group.is_sorted_by(|one, next| one.name < next.name && one.group == next.group));
        }
        for id in ids() {
            assert_eq!(find(id.operation().name), Some(id));
            assert!(std::ptr::eq(all()[id.index()], id.operation()));
        }
    }

    #[test]
    fn entries_are_whole() {
        for operation in all() {
            let name = operation.name;
            assert!(operation.since.redis.is_some() || operation.since.valkey.is_some(), "{name}");
            assert!(!operation.summary.is_empty() && !operation.summary.ends_with('.'), "{name}");
            assert!(!operation.changes() || operation.access.class != Class::Read, "{name} changes data and asks for reading alone");
            check_params(name, operation.params);
            let names: Vec<_> = read::flat(operation.params).iter().map(|param| param.name).collect();
            assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len(), "{name} has an argument twice: {names:?}");
        }
    }

    fn check_params(operation: &str, params: &[Param]) {
        let known: Vec<_> = read::flat(params).iter().map(|param| param.name).collect();
        for param in params {
            let name = format!("{operation} {}", param.name);
            assert!(param.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'), "{name}");
            assert!(param.requires.is_none_or(|other| known.contains(&other)), "{name} requires what is not there");
            if matches!(param.kind, Kind::List(..) | Kind::Objects(..) | Kind::Pairs(..)) {
                assert!(param.name.ends_with('s'), "{name} repeats and is no plural");
            }
            match param.kind {
                Kind::OneOf(inner) | Kind::Object(inner) | Kind::Objects(inner, _) => check_params(operation, inner),
                Kind::Fixed(_) => {}
                _ => assert!(!param.about.is_empty(), "{name} is not described"),
            }
        }
    }

    #[test]
    fn routes_name_arguments() {
        for operation in all() {
            let params = read::flat(operation.params);
            for route in operation.routes {
                let place = format!("{} {} of {}", route.method.name(), route.template, operation.name);
                for variable in route.variables() {
                    assert!(params.iter().any(|param| param.answers_to(variable)), "{place} has no argument `{variable}`");
                }
                match route.choice {
                    Choice::When(argument) => assert!(params.iter().any(|param| param.name == argument), "{place}"),
                    Choice::Word(word) => assert!(params.iter().all(|param| !param.answers_to(word)), "{place}"),
                    Choice::Only | Choice::Part(_) => {}
                }
            }
        }
    }

    #[test]
    fn routes_do_not_clash() {
        let mut places = Vec::new();
        for operation in all() {
            for route in operation.routes {
                let path: Vec<_> = route.template.split('/').map(|segment| if segment.starts_with('{') { "{}" } else { segment }).collect();
                places.push((route.method, path.join("/"), route, operation));
            }
        }
        for (at, (method, path, route, operation)) in places.iter().enumerate() {
            for (_, _, other, another) in places[..at].iter().filter(|(m, p, ..)| m == method && p == path) {
                let place = format!("{} {path} of {} and {}", method.name(), operation.name, another.name);
                assert_eq!(route.template, other.template, "{place} name their variables differently");
                match (route.choice, other.choice) {
                    (Choice::Part(one), Choice::Part(two)) => assert_ne!(one, two, "{place}"),
                    (Choice::When(one) | Choice::Word(one), Choice::When(two) | Choice::Word(two)) => assert_ne!(one, two, "{place}"),
                    _ => panic!("{place} clash"),
                }
            }
        }
    }

    #[test]
    fn examples_are_encoded() {
        let rules = encode::Rules { encoding: encode::Encoding::Utf8, max_key_bytes: 1024, max_value_bytes: 1024 };
        for operation in all() {
            let arguments = arguments::Arguments::from_json(operation.example.arguments.as_bytes()).unwrap();
            let mut out = bytes::BytesMut::new();
            let plan = operation.encode_any(&arguments, &rules, &mut out);
            assert!(plan.is_ok(), "{}: {plan:?}", operation.name);
            let mut scanner = crate::resp::Scanner::default();
            assert_eq!(scanner.scan(&out), Ok(Some(out.len())), "{}", operation.name);
            serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(operation.example.answer).unwrap();
            let refused = operation.encode(&arguments, &rules, &mut out).err().map(|error| error.code);
            assert_eq!(refused, (operation.mode != Mode::Call).then_some(Code::NotAvailableYet), "{}", operation.name);
        }
    }
}
