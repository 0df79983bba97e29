//! How replies are shaped for people. A shape says what the RESP2 reply is and what JSON is made of it; what may be null says so.

use super::text::Form;

/// The shape of a reply, or of a part of one.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// A word of the server's own (`OK`, a type, an encoding): a string, never in base64.
    Word,
    /// A 64-bit integer, exact. What means yes or no stays 1 or 0.
    Integer,
    /// The literal of a double; `inf` and `nan` are strings.
    Double,
    /// Bytes: a string in the encoding of the answer.
    Bytes,
    /// Bytes that are never text: a string in base64 whatever the encoding.
    Base64,
    /// An array, element by element.
    List(&'static Shape),
    /// An array of names and values in turn: an object. Names do not repeat.
    Map(&'static Shape),
    /// As `Map`, as `[[name, value], …]`, which keeps the order.
    Pairs(&'static Shape),
    /// As `Map`, of bytes; the value of a name that repeats is an array of its values.
    Fields,
    /// An array of `[name, value]`: an object. Names do not repeat.
    Entries(&'static Shape),
    /// An array with a place for each field: an object. Fields at its end may be absent.
    Record(&'static [Field]),
    /// An array that is a record after the other, flat: a list of objects.
    Rows(&'static [Field]),
    /// An array of words and values in turn, each word with a shape of its own, others raw: an object.
    Object(&'static [Field]),
    /// `[cursor, elements]`: `result` is the elements, `cursor` a string beside it, `"0"` at the end.
    Page(&'static Shape),
    /// A JSON document, or an array of such: itself, in any encoding.
    Json,
    /// A text that the server writes for people, as an object.
    Text(Form),
    /// A text with one of these in each line: a list of objects.
    Lines(Form),
    /// That, or null. A null elsewhere is passed on as well; this is what callers are told.
    Nullable(&'static Shape),
    /// As it comes: a string, an integer, null or an array of such.
    Raw,
}

impl Shape {
    /// Whether the reply is one value, which has bytes of its own; unknown for a raw one, which may be.
    pub fn is_one_value(&self) -> bool {
        match self {
            Self::Word | Self::Integer | Self::Double | Self::Bytes | Self::Base64 | Self::Json | Self::Raw => true,
            Self::Nullable(of) => of.is_one_value(),
            _ => false,
        }
    }

    /// Whether the reply is a byte string of a caller's.
    pub fn is_bytes(&self) -> bool {
        match self {
            Self::Bytes => true,
            Self::Nullable(of) => of.is_bytes(),
            _ => false,
        }
    }
}

/// A named part of a reply.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name in JSON.
    pub name: &'static str,
    /// Its shape.
    pub shape: Shape,
    /// It is there only if an argument asked for this column (`Effect::Column`).
    pub column: Option<u8>,
    /// It is a list of all that is left. Only the last of a record is.
    pub rest: bool,
}

impl Field {
    /// A field that is always there.
    pub const fn new(name: &'static str, shape: Shape) -> Self {
        Self { name, shape, column: None, rest: false }
    }

    /// A field that is there when its column was asked for.
    pub const fn column(name: &'static str, shape: Shape, column: u8) -> Self {
        Self { name, shape, column: Some(column), rest: false }
    }

    /// A list of all that is left, each of this shape.
    pub const fn rest(name: &'static str, shape: Shape) -> Self {
        Self { name, shape, column: None, rest: true }
    }
}

/// A member of a sorted set and its score.
pub const SCORED: &[Field] = &[Field::new("member", Shape::Bytes), Field::new("score", Shape::Double)];

/// An entry of a stream.
pub const ENTRY: &[Field] = &[Field::new("id", Shape::Word), Field::new("fields", Shape::Fields)];
