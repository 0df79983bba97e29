//! Where the keys of a command stand, read from its operation's parameters: what decides which node of a cluster it goes to.
//! The words may be a caller's own, so nothing is taken for granted.

use smallvec::SmallVec;

use super::param::{Count, Kind, Layout, Param, Token};
use super::{Id, Operation};

/// The keys of a command.
pub type Keys<'a> = SmallVec<[&'a [u8]; 4]>;

/// The keys among a command's words. Of a command without an operation its first argument, which for most is one: a node that
/// is asked for another's key says whose it is.
pub fn keys<'a>(operation: Option<Id>, words: &[&'a [u8]]) -> Keys<'a> {
    match operation.map(Id::operation) {
        Some(Operation { command, params, .. }) => {
            let mut walk = Walk { words, at: command.words.len(), keys: Keys::new() };
            walk.params(params);
            walk.keys
        }
        None => words.get(1).copied().into_iter().collect(),
    }
}

/// Whether an operation may have keys.
pub fn has_keys(operation: &Operation) -> bool {
    any_key(operation.params)
}

struct Walk<'w, 'a> {
    words: &'w [&'a [u8]],
    at: usize,
    keys: Keys<'a>,
}

impl<'a> Walk<'_, 'a> {
    fn is(&self, at: usize, token: &str) -> bool {
        self.words.get(at).is_some_and(|word| word.eq_ignore_ascii_case(token.as_bytes()))
    }

    /// Takes `count` words, of which one in `step` is a key.
    fn take(&mut self, count: usize, step: usize) {
        let end = self.at.saturating_add(count).min(self.words.len());
        self.keys.extend(self.words[self.at.min(end)..end].iter().step_by(step).copied());
        self.at = end;
    }

    fn params(&mut self, params: &[Param]) {
        for (index, param) in params.iter().enumerate() {
            // What has no count of its own goes on to the words that what follows cannot be without.
            let behind: usize = params[index + 1..].iter().map(least).sum();
            self.param(param, self.words.len().saturating_sub(self.at).saturating_sub(behind));
        }
    }

    fn param(&mut self, param: &Param, room: usize) {
        match param.kind {
            Kind::OneOf(choices) => return choices.iter().for_each(|choice| self.param(choice, room)),
            Kind::Modifier => return,
            Kind::Fixed(_) => {
                self.at += 1;
                return;
            }
            _ => {}
        }
        let mut room = room;
        if let Token::Once(token) | Token::Each(token) | Token::Modified { token, .. } = param.token {
            if !self.is(self.at, token) {
                // A caller's own words may have their options in another order.
                let Some(at) = (self.at..self.words.len()).find(|at| has_key(&param.kind) && self.is(*at, token)) else { return };
                let here = std::mem::replace(&mut self.at, at + 1);
                self.value(&param.kind, self.words.len() - at - 1);
                self.at = here;
                return;
            }
            self.at += 1;
            room = room.saturating_sub(1);
            if let Token::Modified { word, .. } = param.token {
                self.at += usize::from(self.is(self.at, word) || self.is(self.at, "="));
            }
        } else if !param.required && param.default.is_none() && !has_key(&param.kind) {
            return;
        }
        self.value(&param.kind, room);
    }

    fn value(&mut self, kind: &Kind, room: usize) {
        let counted = |words: &[&[u8]], at: usize| -> Option<usize> { std::str::from_utf8(words.get(at)?).ok()?.parse().ok() };
        match kind {
            Kind::Key(_) => self.take(1, 1),
            Kind::List(of, Count::Omitted) if has_key(of) => self.take(room, 1),
            Kind::List(of, Count::Sent) => {
                let Some(count) = counted(self.words, self.at) else { return };
                self.at += 1;
                match has_key(of) {
                    true => self.take(count, 1),
                    false => self.at = self.at.saturating_add(count),
                }
            }
            Kind::Pairs(left, _, layout) if has_key(left) => match layout {
                Layout::Interleaved => self.take(room, 2),
                Layout::Columns => {
                    self.take(room / 2, 1);
                    self.at += room / 2;
                }
                Layout::Counted | Layout::CountedColumns => {
                    let Some(count) = counted(self.words, self.at) else { return };
                    self.at += 1;
                    match layout {
                        Layout::Counted => self.take(count.saturating_mul(2), 2),
                        _ => self.take(count, 1),
                    }
                }
            },
            Kind::Object(params) => self.params(params),
            // A key comes first in what repeats.
            Kind::Objects(params, Count::Omitted) if any_key(params) => self.take(room, params.len()),
            Kind::Flag => {}
            _ => self.at += 1,
        }
    }
}

/// How many words an argument has at least.
fn least(param: &Param) -> usize {
    match param.kind {
        Kind::Fixed(_) => 1,
        _ => usize::from(param.required || param.default.is_some()),
    }
}

fn has_key(kind: &Kind) -> bool {
    match kind {
        Kind::Key(_) => true,
        Kind::List(of, _) | Kind::Pairs(of, ..) => has_key(of),
        Kind::Object(params) | Kind::Objects(params, _) | Kind::OneOf(params) => any_key(params),
        _ => false,
    }
}

fn any_key(params: &[Param]) -> bool {
    params.iter().any(|param| has_key(&param.kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::{all, resolve::resolve};

    fn all_keys(line: &str) -> String {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        String::from_utf8(keys(resolve(&words), &words).join(&b' ')).unwrap()
    }

    fn key(line: &str) -> Option<String> {
        all_keys(line).split(' ').next().filter(|key| !key.is_empty()).map(str::to_owned)
    }

    #[test]
    fn keys_are_found() {
        for (line, keys) in [
            ("DEL a b c", "a b c"),
            ("MSET a 1 b 2", "a b"),
            ("JSON.MSET a $ 1 b $ 2", "a b"),
            ("JSON.MGET a b $", "a b"),
            ("BLPOP a b 0", "a b"),
            ("EVAL return 2 a b c", "a b"),
            ("EVAL return 0 a", ""),
            ("EVAL return 18446744073709551615 a b", "a b"),
            ("SORT a LIMIT 0 1 STORE b", "a b"),
            ("XREAD COUNT 2 STREAMS a b 0 0", "a b"),
            ("ZUNIONSTORE a 2 b c WEIGHTS 1 2", "a b c"),
            ("RENAME a b", "a b"),
            ("BITOP AND a b c", "a b c"),
            ("LMOVE a b LEFT RIGHT", "a b"),
        ] {
            assert_eq!(all_keys(line), keys, "{line}");
        }
    }

    #[test]
    fn the_first_key_is_found() {
        for line in ["GET k", "set k v EX 5", "MSET k v l v", "object encoding k", "NONSENSE k a", "DEL k l", "COPY k l DB 1"] {
            assert_eq!(key(line).as_deref(), Some("k"), "{line}");
        }
        for line in ["RANDOMKEY", "KEYS *", "SCAN 0 MATCH a", "GET", "NONSENSE"] {
            assert_eq!(key(line), None, "{line}");
        }
    }

    /// Every operation that has keys is led to a node by one: its example's first.
    #[test]
    fn examples_have_their_key_where_it_is_looked_for() {
        use crate::operation::{
            arguments::Arguments,
            encode::{Encoding, Rules},
        };
        use crate::resp::{Item, Reader};
        let rules = Rules { encoding: Encoding::Utf8, max_key_bytes: 1024, max_value_bytes: 1024 };
        for operation in all().iter().filter(|operation| operation.params.iter().any(|param| param.required && has_key(&param.kind))) {
            let arguments = Arguments::from_json(operation.example.arguments.as_bytes()).unwrap();
            let mut out = bytes::BytesMut::new();
            operation.encode_any(&arguments, &rules, &mut out).unwrap();
            let mut reader = Reader::new(&out);
            let Ok(Item::Array(Some(count))) = reader.read() else { panic!("{}", operation.name) };
            let words: Vec<&[u8]> =
                (0..count).map(|_| if let Ok(Item::Bulk(Some(word))) = reader.read() { word } else { panic!() }).collect();
            let found = keys(resolve(&words), &words);
            let found = found.iter().map(|key| String::from_utf8_lossy(key));
            let given = found.clone().count() > 0 && found.clone().all(|key| operation.example.arguments.contains(&format!("\"{key}\"")));
            assert!(given, "{}: {:?}", operation.name, words.iter().map(|word| word.escape_ascii().to_string()).collect::<Vec<_>>());
        }
    }
}
