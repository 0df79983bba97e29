//! Where the first key of a command stands, read from its operation's parameters: what decides which node of a cluster it
//! goes to. The words may be a caller's own, so nothing is taken for granted.

use super::param::{Count, Kind, Layout, Param, Token};
use super::{Id, Operation};

/// The first key among a command's words. Of a command without an operation its first argument, which for most is one: a
/// node that is asked for another's key says whose it is.
pub fn first_key<'a>(operation: Option<Id>, words: &[&'a [u8]]) -> Option<&'a [u8]> {
    let at = match operation.map(Id::operation) {
        Some(Operation { command, params, .. }) => {
            let mut walk = Walk { words, at: command.words.len() };
            walk.params(params)?
        }
        None => 1,
    };
    words.get(at).copied()
}

struct Walk<'w, 'a> {
    words: &'w [&'a [u8]],
    at: usize,
}

impl Walk<'_, '_> {
    fn is(&self, at: usize, token: &str) -> bool {
        self.words.get(at).is_some_and(|word| word.eq_ignore_ascii_case(token.as_bytes()))
    }

    fn params(&mut self, params: &[Param]) -> Option<usize> {
        params.iter().find_map(|param| self.param(param))
    }

    fn param(&mut self, param: &Param) -> Option<usize> {
        match param.kind {
            Kind::OneOf(choices) => return self.params(choices),
            Kind::Modifier => return None,
            Kind::Fixed(_) => {
                self.at += 1;
                return None;
            }
            _ => {}
        }
        if let Token::Once(token) | Token::Each(token) | Token::Modified { token, .. } = param.token {
            if !self.is(self.at, token) {
                // A caller's own words may have their options in another order.
                return (self.at..self.words.len()).find(|at| has_key(&param.kind) && self.is(*at, token)).map(|at| at + 1);
            }
            self.at += 1;
            if let Token::Modified { word, .. } = param.token {
                self.at += usize::from(self.is(self.at, word) || self.is(self.at, "="));
            }
        } else if !param.required && param.default.is_none() && !has_key(&param.kind) {
            return None;
        }
        self.value(&param.kind)
    }

    fn value(&mut self, kind: &Kind) -> Option<usize> {
        match kind {
            Kind::Key(_) => return Some(self.at),
            Kind::List(of, Count::Omitted) if has_key(of) => return Some(self.at),
            Kind::Pairs(left, _, layout) if has_key(left) => return Some(self.at + usize::from(*layout == Layout::Counted)),
            Kind::List(of, Count::Sent) => {
                let count: usize = std::str::from_utf8(self.words.get(self.at)?).ok()?.parse().ok()?;
                if has_key(of) && count > 0 {
                    return Some(self.at + 1);
                }
                self.at = self.at.saturating_add(1).saturating_add(count);
            }
            Kind::Object(params) => return self.params(params),
            Kind::Flag => {}
            _ => self.at += 1,
        }
        None
    }
}

fn has_key(kind: &Kind) -> bool {
    match kind {
        Kind::Key(_) => true,
        Kind::List(of, _) | Kind::Pairs(of, ..) => has_key(of),
        Kind::Object(params) => params.iter().any(|param| has_key(&param.kind)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::{all, resolve::resolve};

    fn key(line: &str) -> Option<String> {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        first_key(resolve(&words), &words).map(|key| String::from_utf8_lossy(key).into_owned())
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
            let found = first_key(resolve(&words), &words).map(String::from_utf8_lossy);
            let given = found.is_some_and(|key| operation.example.arguments.contains(&format!("\"{key}\"")));
            assert!(given, "{}: {:?}", operation.name, words.iter().map(|word| word.escape_ascii().to_string()).collect::<Vec<_>>());
        }
    }
}
