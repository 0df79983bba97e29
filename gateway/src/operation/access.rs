//! What a caller needs to be granted for an operation. The categories are those of the server's ACLs.

/// The class and the categories of an operation.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    /// What a grant names.
    pub class: Class,
    /// What `+@category` and `-@category` name.
    pub categories: &'static [Category],
}

/// What a grant allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Seeing data.
    Read,
    /// Changing data.
    Write,
    /// Sending to channels.
    Publish,
    /// Receiving from channels.
    Subscribe,
    /// Managing the server, or costing it dearly.
    Admin,
    /// Nothing: it touches neither data nor the server.
    Open,
}

impl Class {
    /// Its name in grants and in the OpenAPI document.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::Admin => "admin",
            Self::Open => "open",
        }
    }
}

/// A category of the server's ACLs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are the server's words")]
pub enum Category {
    Admin,
    Bitmap,
    Blocking,
    Connection,
    Dangerous,
    Fast,
    Geo,
    Hash,
    Hyperloglog,
    Json,
    Keyspace,
    List,
    Pubsub,
    Read,
    Scripting,
    Set,
    Slow,
    Sortedset,
    Stream,
    String,
    Transaction,
    Write,
}

impl Category {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Admin,
        Self::Bitmap,
        Self::Blocking,
        Self::Connection,
        Self::Dangerous,
        Self::Fast,
        Self::Geo,
        Self::Hash,
        Self::Hyperloglog,
        Self::Json,
        Self::Keyspace,
        Self::List,
        Self::Pubsub,
        Self::Read,
        Self::Scripting,
        Self::Set,
        Self::Slow,
        Self::Sortedset,
        Self::Stream,
        Self::String,
        Self::Transaction,
        Self::Write,
    ];

    /// The server's word for it, without `@`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Bitmap => "bitmap",
            Self::Blocking => "blocking",
            Self::Connection => "connection",
            Self::Dangerous => "dangerous",
            Self::Fast => "fast",
            Self::Geo => "geo",
            Self::Hash => "hash",
            Self::Hyperloglog => "hyperloglog",
            Self::Json => "json",
            Self::Keyspace => "keyspace",
            Self::List => "list",
            Self::Pubsub => "pubsub",
            Self::Read => "read",
            Self::Scripting => "scripting",
            Self::Set => "set",
            Self::Slow => "slow",
            Self::Sortedset => "sortedset",
            Self::Stream => "stream",
            Self::String => "string",
            Self::Transaction => "transaction",
            Self::Write => "write",
        }
    }
}

impl Access {
    /// Seeing data; the category `read` is among `categories`.
    pub const fn read(categories: &'static [Category]) -> Self {
        Self { class: Class::Read, categories }
    }

    /// Changing data; the category `write` is among `categories`.
    pub const fn write(categories: &'static [Category]) -> Self {
        Self { class: Class::Write, categories }
    }

    /// Managing the server.
    pub const fn admin(categories: &'static [Category]) -> Self {
        Self { class: Class::Admin, categories }
    }

    /// Neither.
    pub const fn open(categories: &'static [Category]) -> Self {
        Self { class: Class::Open, categories }
    }
}
