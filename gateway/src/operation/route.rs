//! Where an operation is found as a resource.

/// Flags, and arguments with a value, under which a change may not be made.
pub const CONDITIONS: (&[&str], &[&str]) = (&["nx", "xx", "gt", "lt"], &["ifeq", "ifne", "ifdeq", "ifdne"]);

/// A route of an operation, below `/api/v1/{database}`.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The HTTP method.
    pub method: Method,
    /// The path, `/strings/{key}`. A variable names an argument of the operation, or in the singular one element of a list:
    /// `{key}` is `key`, or one of `keys`. The same holds for query parameters. Of what repeats as objects or pairs, `{member}`
    /// is a part of the one of `members`, and its other parts stand beside the arguments.
    pub template: &'static str,
    /// What is there.
    pub projection: Projection,
    /// Which operation is meant where several share a method and a path.
    pub choice: Choice,
}

/// A method of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "they are HTTP's")]
pub enum Method {
    Get,
    Put,
    Patch,
    Post,
    Delete,
}

impl Method {
    /// As HTTP writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Post => "POST",
            Self::Delete => "DELETE",
        }
    }
}

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Projection {
    /// One value, which has bytes and a version.
    Value,
    /// One thing in a collection, or about a key.
    Item,
    /// Things that come in pages.
    Collection,
    /// Things that keep coming.
    Stream,
}

/// Which operation a request means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The only one there.
    Only,
    /// The one whose argument of this name is given.
    When(&'static str),
    /// The one whose word is given as `true`. The word is no argument of it.
    Word(&'static str),
    /// The one that is left when none of those is meant.
    Else,
    /// All of them, each under its name in one object. A null one means that there is no such key.
    Part(&'static str),
}

impl Route {
    /// A route to one operation.
    pub const fn only(method: Method, template: &'static str, projection: Projection) -> Self {
        Self { method, template, projection, choice: Choice::Only }
    }

    /// A route that is shared.
    pub const fn shared(method: Method, template: &'static str, projection: Projection, choice: Choice) -> Self {
        Self { method, template, projection, choice }
    }

    /// The names of the template's variables.
    pub fn variables(&self) -> impl Iterator<Item = &'static str> {
        self.template.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
    }
}
