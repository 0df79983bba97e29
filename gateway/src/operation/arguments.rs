//! What a caller gave: names and values that borrow from the request. Nothing is interpreted here; the operation's
//! parameters say what a value means.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use smallvec::SmallVec;

use crate::error::{Code, Error};

/// A value as it came.
#[derive(Clone, Debug)]
pub enum Given<'a> {
    /// JSON.
    Json(&'a RawValue),
    /// Text from a query. A list takes each as an element; an object or pairs are JSON in the text.
    Text(Cow<'a, str>),
    /// Exactly these bytes, from a path or a raw body, whatever the encoding. A list takes each as an element.
    Bytes(Cow<'a, [u8]>),
    /// The one element of what repeats as objects or pairs, by its parts. Of a pair they are the first and the second.
    Element(Box<Arguments<'a>>),
}

/// Names and values, in the order given.
#[derive(Clone, Debug, Default)]
pub struct Arguments<'a>(SmallVec<[(Cow<'a, str>, Given<'a>); 8]>);

/// The members of a JSON object, in order.
type Object<'a> = SmallVec<[(Cow<'a, str>, &'a RawValue); 8]>;

/// No object of arguments has more members; what is larger is a list, or pairs.
const MOST: usize = 64;

impl<'a> Arguments<'a> {
    /// Reads a JSON object; nothing at all is an empty one.
    ///
    /// Errors: `malformed_json` with the position; `invalid_argument` for what is no object, or for a name given twice.
    pub fn from_json(body: &'a [u8]) -> Result<Self, Error> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        let mut deserializer = serde_json::Deserializer::from_slice(body);
        let members = deserializer.deserialize_map(Members).and_then(|members| deserializer.end().map(|()| members));
        Self::new(members.map_err(|error| read_error(&error, body))?)
    }

    /// Reads a JSON object that stands in another.
    pub(super) fn from_raw(raw: &'a RawValue) -> Result<Self, Error> {
        Self::new(members(raw)?)
    }

    fn new(members: Object<'a>) -> Result<Self, Error> {
        if members.len() > MOST {
            return Err(Error::new(Code::InvalidArgument, "There are more arguments than any operation has"));
        }
        let mut arguments = Self::default();
        for (name, value) in members {
            if arguments.get(&name).is_some() {
                return Err(Error::new(Code::InvalidArgument, "The argument is given twice").param(name.into_owned()));
            }
            arguments.push(name, Given::Json(value));
        }
        Ok(arguments)
    }

    /// One argument.
    pub fn of(name: &'a str, value: &'a RawValue) -> Self {
        let mut arguments = Self::default();
        arguments.push(name, Given::Json(value));
        arguments
    }

    /// Adds an argument. A name may be there several times, as in a query; then only a list takes it.
    pub fn push(&mut self, name: impl Into<Cow<'a, str>>, given: Given<'a>) {
        self.0.push((name.into(), given));
    }

    /// The first argument of that name.
    pub fn get(&self, name: &str) -> Option<&Given<'a>> {
        self.0.iter().find(|(given, _)| given == name).map(|(_, value)| value)
    }

    /// Whether a flag of that name is given, and true.
    pub fn is_true(&self, name: &str) -> bool {
        match self.get(name) {
            Some(Given::Json(value)) => value.get() == "true",
            Some(Given::Text(value)) => matches!(&**value, "" | "true"),
            Some(Given::Bytes(_) | Given::Element(_)) | None => false,
        }
    }

    /// Takes every argument of that name out; the first is returned.
    pub fn remove(&mut self, name: &str) -> Option<Given<'a>> {
        let at = self.0.iter().position(|(given, _)| given == name)?;
        let (_, value) = self.0.remove(at);
        self.0.retain(|(given, _)| given != name);
        Some(value)
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Given<'a>)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The members of a JSON object, those that repeat included.
pub(super) fn members(raw: &RawValue) -> Result<Object<'_>, Error> {
    let mut deserializer = serde_json::Deserializer::from_str(raw.get());
    deserializer.deserialize_map(Members).map_err(|_| Error::new(Code::InvalidArgument, "It has to be an object"))
}

/// The elements of a JSON array.
pub(super) fn elements(raw: &RawValue) -> Result<Vec<&RawValue>, Error> {
    let mut deserializer = serde_json::Deserializer::from_str(raw.get());
    deserializer.deserialize_seq(Elements).map_err(|_| Error::new(Code::InvalidArgument, "It has to be an array"))
}

/// The text of a JSON string; `None` for another kind of value.
pub(super) fn text(raw: &RawValue) -> Result<Option<Cow<'_, str>>, Error> {
    let literal = raw.get();
    if !literal.starts_with('"') {
        return Ok(None);
    }
    if memchr::memchr(b'\\', literal.as_bytes()).is_none() {
        return Ok(Some(Cow::Borrowed(&literal[1..literal.len() - 1])));
    }
    // Half of a surrogate pair passes as JSON but stands for no character.
    let unescaped =
        serde_json::from_str(literal).map_err(|_| Error::new(Code::InvalidArgument, "It is not a string of Unicode characters"));
    Ok(Some(Cow::Owned(unescaped?)))
}

/// What is wrong with a body, and where: `malformed_json` with the position, or `invalid_argument` for JSON of another kind.
pub(crate) fn read_error(error: &serde_json::Error, body: &[u8]) -> Error {
    if error.is_data() {
        return Error::new(Code::InvalidArgument, "The arguments have to be a JSON object");
    }
    let position = if error.is_eof() {
        body.len()
    } else {
        let line = error.line().saturating_sub(1);
        let start = if line == 0 { 0 } else { memchr::memchr_iter(b'\n', body).nth(line - 1).map_or(0, |end| end + 1) };
        (start + error.column().saturating_sub(1)).min(body.len())
    };
    Error::new(Code::MalformedJson, "The body is not JSON").position(position)
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Object<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Object::new();
        while let Some(name) = map.next_key_seed(Name)? {
            members.push((name, map.next_value()?));
        }
        Ok(members)
    }
}

struct Elements;

impl<'de> Visitor<'de> for Elements {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = seq.next_element()? {
            elements.push(element);
        }
        Ok(elements)
    }
}

/// A name, borrowed where it has no escapes.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails(body: &str) -> (Code, Option<usize>) {
        let error = Arguments::from_json(body.as_bytes()).unwrap_err();
        (error.code, error.position)
    }

    #[test]
    fn the_position_of_what_is_no_json_is_told() {
        assert_eq!(fails(r#"{"a":x}"#), (Code::MalformedJson, Some(5)));
        assert_eq!(fails("{\n \"a\": 1,\n y}"), (Code::MalformedJson, Some(12)));
        assert_eq!(fails(r#"{"a":"#), (Code::MalformedJson, Some(5)));
        assert_eq!(fails(r#"{"a":1} x"#), (Code::MalformedJson, Some(8)));
        assert_eq!(Arguments::from_json(b"{\"a\":\"\xff\"}").unwrap_err().code, Code::MalformedJson);
    }

    #[test]
    fn arguments_are_an_object_of_distinct_names() {
        assert_eq!(fails("[1]"), (Code::InvalidArgument, None));
        assert_eq!(fails("null"), (Code::InvalidArgument, None));
        let twice = Arguments::from_json(br#"{"a":1,"\u0061":2}"#).unwrap_err();
        assert_eq!((twice.code, twice.param.as_deref()), (Code::InvalidArgument, Some("a")));
        assert!(Arguments::from_json(b"").unwrap().is_empty());
    }

    #[test]
    fn a_name_is_taken_out_wherever_it_stands() {
        let mut arguments = Arguments::from_json(br#"{"a":1,"b":2}"#).unwrap();
        arguments.push("a", Given::Text("3".into()));
        assert!(matches!(arguments.remove("a"), Some(Given::Json(one)) if one.get() == "1"));
        assert!(arguments.remove("a").is_none());
        assert_eq!(arguments.len(), 1);
    }
}
