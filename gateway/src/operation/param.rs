//! What an argument is: its name, how it is read from JSON, and which words it becomes.

use super::Since;
use super::shape::Shape;

/// An argument.
#[derive(Clone, Copy, Debug)]
pub struct Param {
    /// Its name in JSON and in queries. For `Kind::OneOf` it stands in the documentation only.
    pub name: &'static str,
    /// The word it is announced by.
    pub token: Token,
    /// What it holds.
    pub kind: Kind,
    /// A call without it is refused.
    pub required: bool,
    /// What is sent when it is absent, behind its token.
    pub default: Option<&'static str>,
    /// Another argument that it makes no sense without.
    pub requires: Option<&'static str>,
    /// Another argument that takes its place: never both, and with that one it is not required.
    pub instead: Option<&'static str>,
    /// The first versions that have it, if it is newer than its operation.
    pub since: Option<Since>,
    /// What else its presence changes.
    pub effects: &'static [Effect],
    /// What it means, in a few words.
    pub about: &'static str,
}

/// The word that announces an argument.
#[derive(Clone, Copy, Debug)]
pub enum Token {
    /// There is none: its place says what it is.
    None,
    /// One, before everything. Of a flag, it is all there is.
    Once(&'static str),
    /// One before each element of a list.
    Each(&'static str),
    /// One, and a further word between it and the value if the named flag beside it is true (`MAXLEN ~ 5`).
    Modified {
        /// The token.
        token: &'static str,
        /// The name of the flag, of `Kind::Modifier`.
        flag: &'static str,
        /// The further word.
        word: &'static str,
    },
}

/// What an argument holds.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A key: a byte string.
    Key(Role),
    /// A byte string.
    Bytes,
    /// The name of a channel: a byte string.
    Channel,
    /// A glob that chooses among all keys: a byte string.
    Glob,
    /// A pattern that leads from what is found to other keys: a byte string.
    Elsewhere,
    /// The number of another database of the server: a signed 64-bit integer.
    OtherDatabase,
    /// Bytes that are never text: always in base64.
    Base64,
    /// A JSON document, as itself; sent as its text.
    Json,
    /// A name or a word, always text.
    Text,
    /// A signed 64-bit integer.
    Integer,
    /// An unsigned 64-bit integer, as a string so that no client loses digits.
    Cursor,
    /// A double, or the strings `inf` and `-inf`.
    Double,
    /// `true` sends the token; `false` is as good as absent.
    Flag,
    /// `true` has the effects and sends nothing.
    Modifier,
    /// One of these words.
    Choice(&'static [Word]),
    /// An array of at least one. A single element need not be in an array.
    List(&'static Kind, Count),
    /// Pairs: an object, or `[[a, b], …]`.
    Pairs(&'static Kind, &'static Kind, Layout),
    /// An object with these members.
    Object(&'static [Param]),
    /// An array of at least one object with these members.
    Objects(&'static [Param], Count),
    /// At most one of these, or exactly one if it is required. They stand beside the other arguments.
    OneOf(&'static [Param]),
    /// A word that is always sent and never asked for.
    Fixed(&'static str),
}

/// A word of a choice.
#[derive(Clone, Copy, Debug)]
pub struct Word {
    /// In JSON.
    pub name: &'static str,
    /// As sent.
    pub token: &'static str,
}

/// Whether the number of elements is sent before them. It is never asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// It is not.
    Omitted,
    /// It is, as `0` when there are none and no token either.
    Sent,
}

/// The order in which pairs are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `a b a b`
    Interleaved,
    /// `2 a b a b`
    Counted,
    /// `a a b b`
    Columns,
    /// `2 a a b b`
    CountedColumns,
}

impl Layout {
    /// Whether the number of pairs is sent before them.
    pub const fn count(self) -> Count {
        match self {
            Self::Counted | Self::CountedColumns => Count::Sent,
            Self::Interleaved | Self::Columns => Count::Omitted,
        }
    }

    /// Whether the second of each pair follows behind the first of all.
    pub const fn in_columns(self) -> bool {
        matches!(self, Self::Columns | Self::CountedColumns)
    }
}

/// What an operation does with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Role {
    /// Its content is seen, in the reply or in another key.
    pub read: bool,
    /// Its content is set or changed.
    pub write: bool,
    /// It may be gone afterwards.
    pub delete: bool,
}

impl Role {
    /// Its content is seen.
    pub const READ: Self = Self { read: true, write: false, delete: false };
    /// Its content is changed and not seen.
    pub const WRITE: Self = Self { read: false, write: true, delete: false };
    /// Its content is seen and changed.
    pub const READ_WRITE: Self = Self { read: true, write: true, delete: false };
    /// It is removed, its content not seen.
    pub const DELETE: Self = Self { read: false, write: true, delete: true };
    /// Its content is seen, and it is removed.
    pub const READ_DELETE: Self = Self { read: true, write: true, delete: true };
    /// Only its existence, type, size or the like are seen.
    pub const METADATA: Self = Self { read: false, write: false, delete: false };

    /// Whether only what is known about the key is seen.
    pub const fn metadata(self) -> bool {
        !self.read && !self.write
    }
}

/// What the presence of an argument changes.
#[derive(Clone, Copy, Debug)]
pub enum Effect {
    /// The reply has this shape. Of several, the last in the table's order holds.
    Shape(Shape),
    /// The reply has this column.
    Column(u8),
    /// The content of the written keys is seen as well.
    Reads,
    /// Doing it twice is not doing it once.
    Once,
    /// The reply may come later.
    Blocks(&'static str),
}

impl Param {
    /// A required argument without a token.
    pub const fn required(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Self {
            name,
            token: Token::None,
            kind,
            required: true,
            default: None,
            requires: None,
            instead: None,
            since: None,
            effects: &[],
            about,
        }
    }

    /// The key of an operation that has one.
    pub const fn key(role: Role) -> Self {
        Self::required("key", Kind::Key(role), "The key")
    }

    /// The keys of an operation that takes several of one role.
    pub const fn keys(of: &'static Kind) -> Self {
        Self::required("keys", Kind::List(of, Count::Omitted), "The keys")
    }

    /// An optional argument without a token.
    pub const fn optional(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Self { required: false, ..Self::required(name, kind, about) }
    }

    /// An optional argument behind a token.
    pub const fn option(name: &'static str, token: &'static str, kind: Kind, about: &'static str) -> Self {
        Self { token: Token::Once(token), ..Self::optional(name, kind, about) }
    }

    /// An optional token.
    pub const fn flag(name: &'static str, token: &'static str, about: &'static str) -> Self {
        Self::option(name, token, Kind::Flag, about)
    }

    /// A flag that is not sent.
    pub const fn modifier(name: &'static str, about: &'static str) -> Self {
        Self::optional(name, Kind::Modifier, about)
    }

    /// At most one of several arguments.
    pub const fn one_of(name: &'static str, params: &'static [Param]) -> Self {
        Self::optional(name, Kind::OneOf(params), "")
    }

    /// Exactly one of several arguments.
    pub const fn exactly_one_of(name: &'static str, params: &'static [Param]) -> Self {
        Self::required(name, Kind::OneOf(params), "")
    }

    /// A word that is always sent.
    pub const fn fixed(word: &'static str) -> Self {
        Self::optional("", Kind::Fixed(word), "")
    }

    /// With another token.
    #[must_use]
    pub const fn token(self, token: Token) -> Self {
        Self { token, ..self }
    }

    /// With a value that is sent when the argument is absent.
    #[must_use]
    pub const fn default(self, default: &'static str) -> Self {
        Self { default: Some(default), required: false, ..self }
    }

    /// With an argument that has to be there as well.
    #[must_use]
    pub const fn requires(self, other: &'static str) -> Self {
        Self { requires: Some(other), ..self }
    }

    /// With an argument that takes its place.
    #[must_use]
    pub const fn instead(self, other: &'static str) -> Self {
        Self { instead: Some(other), ..self }
    }

    /// With the versions that have it.
    #[must_use]
    pub const fn since(self, redis: Option<&'static str>, valkey: Option<&'static str>) -> Self {
        Self { since: Some(Since { redis, valkey }), ..self }
    }

    /// With effects.
    #[must_use]
    pub const fn effects(self, effects: &'static [Effect]) -> Self {
        Self { effects, ..self }
    }

    /// Whether `name` means this argument in a path or a query, where one element of a list goes by its singular.
    pub fn answers_to(&self, name: &str) -> bool {
        self.name == name || (matches!(self.kind, Kind::List(..)) && self.name.strip_suffix('s') == Some(name))
    }

    /// Whether `name` in a path is a part of the one element of this argument; the others are given beside it.
    pub fn gathers(&self, name: &str) -> bool {
        matches!(self.kind, Kind::Objects(..) | Kind::Pairs(..)) && self.name.strip_suffix('s') == Some(name)
    }

    /// The parts of an element by their names; the first of a pair goes by what the pair is for.
    pub fn parts(&self) -> Vec<&'static str> {
        match self.kind {
            Kind::Objects(params, _) => super::read::flat(params).iter().map(|param| param.name).collect(),
            Kind::Pairs(..) => vec![Self::VALUE],
            _ => Vec::new(),
        }
    }

    /// The second of a pair that is given by its parts.
    pub const VALUE: &'static str = "value";
}
