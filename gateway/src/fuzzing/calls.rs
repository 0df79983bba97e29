//! Arguments as strangers send them.

use bytes::BytesMut;

use super::{line, operation};
use crate::{
    operation::{
        Id,
        arguments::Arguments,
        encode::{Encoding, Marks, Place, Rules},
    },
    resp::{self, Scanner},
};

/// Bytes of a key that are taken: few, so that more are tried.
const KEY: usize = 64;
/// What a call has to keep to.
pub(super) const RULES: Rules = Rules { encoding: Encoding::Utf8, max_key_bytes: KEY, max_value_bytes: 256 };

/// Inputs: the name of an operation, a line end, its arguments. What is encoded is one command, and what is refused leaves nothing.
pub fn calls(data: &[u8]) {
    let (name, body) = line(data);
    for encoding in [Encoding::Utf8, Encoding::Base64] {
        encode(operation(name), body, &Rules { encoding, ..RULES });
    }
}

/// Encodes a call of arguments in JSON.
pub(super) fn encode(id: Id, body: &[u8], rules: &Rules) -> Option<(BytesMut, Marks, crate::operation::encode::Plan)> {
    let arguments = match Arguments::from_json(body) {
        Ok(arguments) => arguments,
        Err(error) => {
            assert!(error.position.is_none_or(|position| position <= body.len()), "{error:?}");
            return None;
        }
    };
    let (mut out, mut marks) = (BytesMut::new(), Marks::new());
    let plan = match id.operation().encode_marked(&arguments, rules, &mut out, Some(&mut marks)) {
        Ok(plan) => plan,
        Err(error) => {
            assert!(out.is_empty(), "{error:?}");
            return None;
        }
    };
    let words = command(&out);
    assert!(words.iter().zip(id.operation().command.words).all(|(word, expected)| *word == expected.as_bytes()));
    assert!(marks.is_sorted_by(|one, other| one.word < other.word));
    for mark in &marks {
        assert!(mark.word >= id.operation().command.words.len());
        let word = words[mark.word];
        assert!(!matches!(mark.place, Place::Key(_)) || word.len() <= rules.max_key_bytes);
    }
    let mut unmarked = BytesMut::new();
    assert!(id.operation().encode_any(&arguments, rules, &mut unmarked).is_ok());
    assert_eq!(out, unmarked);
    Some((out, marks, plan))
}

/// The words of what has to be one command and nothing else.
pub(crate) fn command(bytes: &[u8]) -> Vec<&[u8]> {
    assert_eq!(Scanner::default().scan(bytes), Ok(Some(bytes.len())));
    let words = resp::words(bytes).to_vec();
    let mut again = BytesMut::new();
    resp::write_command(&mut again, &words);
    assert_eq!(&again[..], bytes);
    words
}
