//! From the words of a raw command to its operation, and which commands a shared connection cannot carry at all.

use std::collections::HashMap;
use std::sync::OnceLock;

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
const UNSHAREABLE: &[&str] = &[
    "ASKING",
    "AUTH",
    "CLIENT",
    "DEBUG",
    "DISCARD",
    "EXEC",
    "FAILOVER",
    "HELLO",
    "MONITOR",
    "MULTI",
    "PSUBSCRIBE",
    "PSYNC",
    "PUNSUBSCRIBE",
    "QUIT",
    "READONLY",
    "READWRITE",
    "REPLCONF",
    "RESET",
    "SELECT",
    "SHUTDOWN",
    "SSUBSCRIBE",
    "SUBSCRIBE",
    "SUNSUBSCRIBE",
    "SYNC",
    "UNSUBSCRIBE",
    "UNWATCH",
    "WATCH",
];

/// Commands that wait only with the option `BLOCK`.
const MAY_BLOCK: &[&str] = &["XREAD", "XREADGROUP"];

/// Why a raw command that has no operation cannot share a connection.
pub fn unshareable(words: &[&[u8]]) -> Option<&'static str> {
    let among = |list: &[&str]| words.first().is_some_and(|word| list.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(word)));
    let blocks = || words.iter().skip(1).any(|word| word.eq_ignore_ascii_case(b"BLOCK"));
    (among(UNSHAREABLE) || (among(MAY_BLOCK) && blocks())).then_some("The command needs a connection of its own")
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
        assert!(unshareable(&[b"subscribe", b"a"]).is_some());
        assert!(unshareable(&[b"xread", b"block", b"0"]).is_some());
        assert!(unshareable(&[b"xread", b"streams", b"a", b"0"]).is_none());
        for command in UNSHAREABLE {
            assert!(resolve(&[command.as_bytes()]).is_none(), "{command} has an operation that says its mode");
        }
    }
}
