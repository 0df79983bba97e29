//! What a client sends over a WebSocket: one JSON object in each text frame, with an id that its answer carries.

use std::{borrow::Cow, sync::Arc};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::request;
use crate::{
    error::{Code, Error},
    operation::arguments,
};

/// The longest id, as it stands in JSON.
const LONGEST_ID: usize = 128;

/// A client's name for a call: an integer or a string. It is unique among the calls of its socket that run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Id {
    Number(i64),
    /// As it stands in JSON, quotes included.
    Text(Arc<str>),
}

impl Id {
    /// Appends it as JSON.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Number(number) => out.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes()),
            Self::Text(text) => out.extend_from_slice(text.as_bytes()),
        }
    }

    pub(super) fn read(raw: &RawValue) -> Result<Self, Error> {
        let text = raw.get();
        let id = match text.as_bytes()[0] {
            b'"' if text.len() <= LONGEST_ID => Some(Self::Text(text.into())),
            b'-' | b'0'..=b'9' => text.parse().ok().map(Self::Number),
            _ => None,
        };
        id.ok_or_else(|| Error::new(Code::InvalidArgument, "expected an integer, or a string of at most 126 bytes").param("id"))
    }
}

/// A call.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Frame<'a> {
    #[serde(borrow)]
    pub(super) id: &'a RawValue,
    #[serde(borrow)]
    pub(super) op: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) args: Option<&'a RawValue>,
    /// The database, where the socket's path names none.
    #[serde(borrow, default)]
    pub(super) database: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) encoding: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) timeout: Option<Cow<'a, str>>,
    /// The id of a session that the call is part of.
    #[serde(borrow, default)]
    pub(super) session: Option<&'a RawValue>,
}

/// Of a call that is not one: at least its id.
#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
}

const SHAPE: &str =
    "expected a call: {\"id\": …, \"op\": …, \"args\"?: {…}, \"database\"?: …, \"encoding\"?: …, \"timeout\"?: …, \"session\"?: …}";

/// What a text frame holds.
pub(super) enum Read<'a> {
    Call(Id, Frame<'a>),
    /// JSON that is no call. Its id, if it has one.
    Refused(Option<Id>, Error),
    /// No JSON.
    Unreadable(Error),
}

/// Reads a text frame.
pub(super) fn read(text: &str) -> Read<'_> {
    let error = match request::of_object(text.as_bytes(), serde_json::from_str::<Frame<'_>>(text)) {
        Ok(frame) => {
            return match Id::read(frame.id) {
                Ok(id) => Read::Call(id, frame),
                Err(error) => Read::Refused(None, error),
            };
        }
        Err(error) => error,
    };
    if error.classify() != serde_json::error::Category::Data {
        return Read::Unreadable(arguments::read_error(&error, text.as_bytes()));
    }
    // serde's own words name a member of the frame, and nothing that the client put into one.
    let unknown = error.to_string().strip_prefix("unknown field `").and_then(|rest| rest.split('`').next()).is_some();
    let code = if unknown { Code::UnknownArgument } else { Code::InvalidArgument };
    let named = request::of_object(text.as_bytes(), serde_json::from_str::<Named<'_>>(text)).ok();
    let id = named.and_then(|named| Id::read(named.id?).ok());
    Read::Refused(id, Error::new(code, SHAPE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_told_apart() {
        let kind = |text: &str| match read(text) {
            Read::Call(id, frame) => {
                let mut out = Vec::new();
                id.write(&mut out);
                format!("{} {}", String::from_utf8(out).unwrap(), frame.op)
            }
            Read::Refused(id, error) => format!("{} {}", if id.is_some() { "id" } else { "none" }, error.code.name()),
            Read::Unreadable(error) => error.code.name().to_owned(),
        };
        for (text, expected) in [
            (r#"{"id":1,"op":"get","args":{"key":"a"}}"#, "1 get"),
            (r#"{"op":"get","id":"a"}"#, r#""a" get"#),
            (r#"{"id":-9223372036854775808,"op":"x"}"#, "-9223372036854775808 x"),
            (r#"{"id":9223372036854775808,"op":"x"}"#, "none invalid_argument"),
            (r#"{"id":1.5,"op":"x"}"#, "none invalid_argument"),
            (r#"{"id":null,"op":"x"}"#, "none invalid_argument"),
            (r#"{"op":"x"}"#, "none invalid_argument"),
            (r#"{"id":1}"#, "id invalid_argument"),
            (r#"{"id":1,"op":"x","more":2}"#, "id unknown_argument"),
            (r#"[1]"#, "none invalid_argument"),
            (r#"[1,"get",{"key":"a"}]"#, "none invalid_argument"),
            (r#"{"id":1,"#, "malformed_json"),
            ("", "malformed_json"),
            ("hello", "malformed_json"),
        ] {
            assert_eq!(kind(text), expected, "{text}");
        }
        assert!(matches!(read(&format!(r#"{{"id":"{}","op":"x"}}"#, "i".repeat(127))), Read::Refused(None, _)));
    }
}
