//! From the words of a raw command to its operation, and which commands a shared connection cannot carry at all.

use std::collections::HashMap;
use std::sync::OnceLock;

use super::param::{Effect, Param, Token};
use super::{Id, ids};

/// The operation whose command's words open these, the most words first. Letters match in either case.
pub fn resolve(words: &[&[u8]]) -> Option<Id> {
    static BY_FIRST: OnceLock<HashMap<&str, Vec<Id>>> = OnceLock::new();
    let known = BY_FIRST.get_or_init(|| {
        let mut known: HashMap<&str, Vec<Id>> = HashMap::new();
        for id in ids() {
            known.entry(id.operation().command.words[0]).or_default().push(id);
        }
        for ids in known.values_mut() {
            ids.sort_by_key(|id| std::cmp::Reverse(id.operation().command.words.len()));
        }
        known
    });
    let mut first = [0; 32];
    let first = first.get_mut(..words.first()?.len())?;
    first.copy_from_slice(words[0]);
    first.make_ascii_uppercase();
    let candidates = known.get(std::str::from_utf8(first).ok()?)?;
    candidates.iter().copied().find(|id| {
        let command = id.operation().command.words;
        command.len() <= words.len() && command.iter().zip(words).all(|(one, other)| one.as_bytes().eq_ignore_ascii_case(other))
    })
}

/// Commands without an operation that change the state of a connection, keep it waiting, or make it push: on a connection that
/// calls share they would harm others.
const UNSHAREABLE: &[&str] = &["CLIENT", "DEBUG", "PSYNC", "REPLCONF", "SYNC"];

/// Why a raw command that has no operation cannot share a connection.
pub fn unshareable(words: &[&[u8]]) -> Option<&'static str> {
    let is_known = |word: &&[u8]| UNSHAREABLE.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(word));
    words.first().is_some_and(is_known).then_some("The command needs a connection of its own")
}

/// Why a raw command of an operation that shares a connection cannot do so as it is: it has an option that lets it wait.
pub fn waits(id: Id, words: &[&[u8]]) -> Option<&'static str> {
    let operation = id.operation();
    // What stands behind the token of the last argument is that argument.
    let last = operation.params.last().and_then(token);
    let rest = words.iter().skip(operation.command.words.len());
    let options: Vec<&&[u8]> = rest.take_while(|word| last.is_none_or(|last| !last.eq_ignore_ascii_case(word))).collect();
    operation.params.iter().find_map(|param| {
        let reason = param.effects.iter().find_map(|effect| if let Effect::Blocks(reason) = effect { Some(*reason) } else { None })?;
        let token = token(param)?;
        options.iter().any(|word| token.eq_ignore_ascii_case(word)).then_some(reason)
    })
}

fn token(param: &Param) -> Option<&'static [u8]> {
    if let Token::Once(token) = param.token { Some(token.as_bytes()) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_find_their_operation() {
        let name = |words: &[&[u8]]| resolve(words).map(|id| id.operation().name);
        assert_eq!(name(&[b"gEt", b"a"]), Some("get"));
        assert_eq!(name(&[b"object", b"Encoding", b"a"]), Some("object_encoding"));
        assert_eq!(name(&[b"object"]), None);
        assert_eq!(name(&[b"nonsense"]), None);
        assert_eq!(name(&[&b"x".repeat(100)]), None);
        assert_eq!(name(&[]), None);
    }

    #[test]
    fn what_would_harm_others_is_known() {
        assert!(unshareable(&[b"client", b"nonsense"]).is_some());
        assert!(unshareable(&[b"nonsense"]).is_none());
        let waits = |words: &[&[u8]]| waits(resolve(words).unwrap(), words).is_some();
        assert!(waits(&[b"xread", b"count", b"1", b"block", b"0", b"streams", b"a", b"0"]));
        assert!(!waits(&[b"xread", b"streams", b"block", b"0"]));
        assert!(waits(&[b"XREADGROUP", b"GROUP", b"g", b"c", b"BLOCK", b"0", b"STREAMS", b"a", b">"]));
        assert!(!waits(&[b"get", b"block"]));
        for command in UNSHAREABLE {
            assert!(resolve(&[command.as_bytes()]).is_none(), "{command} has an operation that says its mode");
        }
    }
}
