//! What the words of `access` allow: for each operation whether it may be called, and whether it may see and change what is under
//! a key.

use crate::operation::{self, Category, Class, Id};

/// A set of operations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Set(Vec<u64>);

impl Set {
    fn new() -> Self {
        Self(vec![0; operation::all().len().div_ceil(64)])
    }

    fn put(&mut self, id: Id, is_in: bool) {
        let (word, bit) = (id.index() / 64, 1 << (id.index() % 64));
        if is_in { self.0[word] |= bit } else { self.0[word] &= !bit }
    }

    /// Whether an operation is in it.
    pub(super) fn has(&self, id: Id) -> bool {
        self.0[id.index() / 64] & (1 << (id.index() % 64)) != 0
    }
}

/// What a grant allows, operation by operation.
#[derive(Clone, Debug)]
pub(super) struct Access {
    /// It may be called.
    pub(super) calls: Set,
    /// It may see what is under a key.
    pub(super) reads: Set,
    /// It may change what is under a key.
    pub(super) writes: Set,
    /// Everything is allowed, also what no operation is known for.
    pub(super) everything: bool,
}

/// Whether every word of an `access` is one.
pub fn check_access(words: &[String]) -> Result<(), String> {
    Access::read(words).map(drop)
}

const CLASSES: [Class; 5] = [Class::Read, Class::Write, Class::Publish, Class::Subscribe, Class::Admin];

impl Access {
    /// Reads the words, which hold one after the other.
    pub(super) fn read(words: &[String]) -> Result<Self, String> {
        let mut access = Self { calls: Set::new(), reads: Set::new(), writes: Set::new(), everything: false };
        for word in words {
            access.word(word)?;
        }
        // What touches nothing needs no word of its own; one that takes it away is heard.
        for id in operation::ids().filter(|id| id.operation().access.class == Class::Open) {
            let taken = |word: &String| word.strip_prefix('-').is_some_and(|rest| names(rest, id));
            access.calls.put(id, !words.iter().any(taken) || access.calls.has(id));
        }
        access.everything = words.first().is_some_and(|word| word == "all") && words.len() == 1;
        Ok(access)
    }

    fn word(&mut self, word: &str) -> Result<(), String> {
        if word == "all" {
            return CLASSES.iter().try_for_each(|class| self.word(class.name()));
        }
        if let Some(class) = CLASSES.into_iter().find(|class| class.name() == word) {
            for id in operation::ids() {
                let operation = id.operation();
                if operation.access.class == class {
                    self.calls.put(id, true);
                }
                // An administrator's operation does with its keys what it does.
                let admin = class == Class::Admin && operation.access.class == class;
                if class == Class::Read || admin {
                    self.reads.put(id, true);
                }
                if class == Class::Write || admin {
                    self.writes.put(id, true);
                }
            }
            return Ok(());
        }
        let (is_in, name) = match (word.strip_prefix('-'), word.strip_prefix('+')) {
            (Some(name), _) => (false, name),
            (_, Some(name)) => (true, name),
            _ => (true, word),
        };
        let known = match name.strip_prefix('@') {
            Some(category) => Category::ALL.iter().any(|known| known.name() == category),
            None => operation::find(name).is_some(),
        };
        if !known || (word.starts_with('@')) {
            return Err(format!(
                "{word:?} is neither `read`, `write`, `publish`, `subscribe`, `admin`, `all`, `+@category`, `-@category` nor the name of an \
                 operation"
            ));
        }
        for id in operation::ids().filter(|id| names(name, *id)) {
            self.calls.put(id, is_in);
            self.reads.put(id, is_in);
            self.writes.put(id, is_in);
        }
        Ok(())
    }
}

/// Whether a word names an operation, or a category that it is of.
fn names(name: &str, id: Id) -> bool {
    match name.strip_prefix('@') {
        Some(category) => id.operation().access.categories.iter().any(|known| known.name() == category),
        None => id.operation().name == name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(words: &[&str]) -> Result<Access, String> {
        Access::read(&words.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    fn may(words: &[&str], name: &str) -> (bool, bool, bool) {
        let (access, id) = (access(words).unwrap(), operation::find(name).unwrap());
        (access.calls.has(id), access.reads.has(id), access.writes.has(id))
    }

    #[test]
    fn words_hold_one_after_the_other() {
        assert_eq!(may(&["read"], "get"), (true, true, false));
        assert_eq!(may(&["read"], "set"), (false, true, false));
        assert_eq!(may(&["write"], "set"), (true, false, true));
        assert_eq!(may(&["read", "write"], "copy"), (true, true, true));
        assert_eq!(may(&["hget"], "hget"), (true, true, true));
        assert!(!may(&["hget"], "hset").0);
        assert!(!may(&["all", "-@dangerous"], "keys").0);
        assert!(may(&["-@dangerous", "all"], "keys").0);
        assert!(may(&["+@hash", "-hdel"], "hset").0);
        assert!(!may(&["+@hash", "-hdel"], "hdel").0);
        assert!(may(&["read"], "ping").0);
        assert!(!may(&["read", "-ping"], "ping").0);
        assert!(!may(&["read"], "config_set").0);
        assert!(access(&["all"]).unwrap().everything && !access(&["all", "-get"]).unwrap().everything);
    }

    #[test]
    fn what_is_no_word_is_told() {
        for word in ["reed", "+@hashes", "@hash", "-nothing", ""] {
            assert!(access(&[word]).is_err(), "{word}");
        }
    }
}
