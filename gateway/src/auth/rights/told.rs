//! What a caller is told: names as it knows them, and none that it may not know.

use bytes::Bytes;

use super::{Rights, Rule, escaped, matches, names};
use crate::{
    error::Error,
    operation::{Id, find},
};

/// What channels begin with on which the server tells what happens to keys.
const KEY_EVENTS: &[u8] = b"__key";

impl Rights {
    /// The key of an event or of a list as the caller knows it, if it may know of it: if it may see or change it, by the operation
    /// that tells of it or by those of its grants' classes.
    pub fn told<'k>(&self, by: Id, key: &'k [u8]) -> Option<&'k [u8]> {
        if self.all {
            return Some(key);
        }
        let key = match &self.prefix {
            Some(prefix) => key.strip_prefix(&prefix[..])?,
            None => key,
        };
        let exists = find("exists")?;
        let knows = |rule: &Rule| [by, exists].into_iter().any(|id| rule.access.reads.has(id) || rule.access.writes.has(id));
        let denies = |rule: &Rule| [by, exists].into_iter().any(|id| rule.access.calls.has(id));
        let hidden = |rule: &Rule| denies(rule) && rule.keys.as_ref().is_some_and(|globs| globs.iter().any(|glob| matches(glob, key)));
        (self.allows.iter().any(|rule| knows(rule) && rule.has_key(key)) && !self.denies.iter().any(hidden)).then_some(key)
    }

    /// A key that the caller has named itself, or its channel, as it has named it.
    pub fn heard<'c>(&self, name: &'c [u8]) -> &'c [u8] {
        self.prefix.as_ref().and_then(|prefix| name.strip_prefix(&prefix[..])).unwrap_or(name)
    }

    /// A glob of channels as the caller has named it.
    pub fn heard_glob<'c>(&self, glob: &'c [u8]) -> &'c [u8] {
        self.prefix.as_ref().and_then(|prefix| glob.strip_prefix(&escaped(prefix)[..])).unwrap_or(glob)
    }

    /// Whether a channel tells nothing that the caller may not know: those on which the server tells of all keys are for whoever may
    /// see all keys.
    pub fn hears(&self, channel: &[u8]) -> bool {
        if self.all || !channel.starts_with(KEY_EVENTS) || self.prefix.is_some() {
            return true;
        }
        let get = find("get");
        let sees_all = |rule: &Rule| rule.keys.is_none() && get.is_some_and(|get| rule.access.reads.has(get));
        let hides = |rule: &Rule| rule.keys.as_ref().is_some_and(|keys| !keys.is_empty());
        !self.denies.iter().any(hides) && (self.allows.iter().any(sees_all) || !self.allows.iter().any(hides))
    }

    /// Whether replies are as they are for everybody.
    pub fn sees_all(&self) -> bool {
        self.all
    }

    /// A reply without the keys that the caller may not know of, and those that it may as it knows them.
    pub fn hide(&self, id: Option<Id>, frame: &Bytes) -> Bytes {
        if let (Some(prefix), Some(b'-')) = (&self.prefix, frame.first()) {
            return without(frame, prefix).into();
        }
        match id.and_then(|id| Some((id, names::of(id)?))) {
            Some((id, names)) if names.is_list() => names::tell(names, frame, |key| self.told(id, key)),
            Some((_, names)) => names::tell(names, frame, |key| Some(self.heard(key))),
            None => frame.clone(),
        }
    }

    /// An error without the prefix.
    pub fn hide_in(&self, mut error: Error) -> Error {
        if let (Some(prefix), Some(line)) = (&self.prefix, &mut error.redis) {
            *line = String::from_utf8_lossy(&without(line.as_bytes(), prefix)).into_owned();
        }
        error
    }
}

/// An error line that does not name the prefix. The server names keys in quotes; a prefix that can be no word of its own is
/// taken away wherever a word begins. The line's first word says what is wrong, and stays.
fn without(line: &[u8], prefix: &[u8]) -> Vec<u8> {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let is_odd = prefix.iter().any(|byte| !is_word(byte));
    let begins = |byte: u8| matches!(byte, b'\'' | b'"' | b'`') || (is_odd && matches!(byte, b' ' | b'(' | b','));
    let start = memchr::memchr(b' ', line).unwrap_or(line.len());
    let (mut out, mut at) = (line[..start].to_vec(), start);
    while at < line.len() {
        if at > 0 && begins(line[at - 1]) && line[at..].starts_with(prefix) {
            at += prefix.len();
        }
        out.extend(line.get(at));
        at += 1;
    }
    out
}
