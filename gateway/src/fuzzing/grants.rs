//! Grants, next to a plain reading of what they mean.

use bytes::BytesMut;
use dbx_crds::config::Grant;

use super::{
    calls::{RULES, command, encode},
    line, operation,
};
use crate::{
    auth::Rights,
    operation::{
        Group,
        encode::{Mark, Place},
        find,
        param::Role,
        resolve::resolve,
    },
    resp,
};

/// Globs and names that are longer are not tried: the plain reading takes its time.
const LONGEST: usize = 128;

/// Inputs: words of access, a glob of keys, a prefix, and what [`super::calls`] takes, each but the last with a line end. Only what
/// matches is admitted, and with the prefix; and a glob matches what it plainly says.
pub fn grants(data: &[u8]) {
    let (access, rest) = line(data);
    let (glob, rest) = line(rest);
    let (prefix, rest) = line(rest);
    let (name, body) = line(rest);
    let text = |bytes| std::str::from_utf8(bytes).ok().filter(|text: &&str| text.len() <= LONGEST);
    let (Some(access), Some(glob), Some(prefix)) = (text(access), text(glob), text(prefix)) else { return };
    alike(glob, body);
    let grant = Grant {
        access: access.split_ascii_whitespace().map(str::to_owned).collect(),
        keys: Some(vec![glob.to_owned()]),
        prefix: (!prefix.is_empty()).then(|| prefix.to_owned()),
        ..Grant::default()
    };
    let Ok(rights) = super::rights(&grant) else { return };
    let confined = Confined { rights, glob: glob.as_bytes(), prefix: prefix.as_bytes() };
    confined.call(name, body);
    confined.raw(body);
}

/// Some keys, and what they match.
fn alike(glob: &str, key: &[u8]) {
    let key = &key[..key.len().min(LONGEST)];
    let grant = Grant { access: vec!["read".into()], keys: Some(vec![glob.to_owned()]), ..Grant::default() };
    let rights = super::rights(&grant).expect("the grant is sound");
    let get = find("get").expect("there is such an operation");
    let admitted = rights.key(get, Role::READ, bytes::Bytes::copy_from_slice(key));
    assert_eq!(admitted.is_ok(), plainly(glob.as_bytes(), key), "{glob:?} {key:?}");
}

struct Confined<'a> {
    rights: Rights,
    glob: &'a [u8],
    prefix: &'a [u8],
}

impl Confined<'_> {
    fn call(&self, name: &[u8], body: &[u8]) {
        let id = operation(name);
        let Some((before, marks, plan)) = encode(id, body, &RULES) else { return };
        let mut after = before.clone();
        let judged = self.rights.admit(id, &plan, &marks, &mut after, 0);
        let old = command(&before);
        let mut raw = before.clone();
        let same = resolve(&old) == Some(id);
        let judged_raw = self.rights.admit_raw(resolve(&old), &mut raw);
        if judged.is_err() {
            assert_eq!(before, after);
            assert!(judged_raw.is_err() || !same, "{}", id.operation().name);
            return;
        }
        assert!(!same || judged_raw.is_err() || raw == after, "{}", id.operation().name);
        let new = command(&after);
        // What chooses among all keys and has no glob gets one; a script that keeps a channel is told what the caller calls it.
        let last = new[new.len() - 1];
        let channel = marks.iter().find(|mark| mark.place == Place::Channel).map(|mark| old[mark.word]);
        match new.len() - old.len() {
            0 => {}
            1 => assert!(id.operation().group == Group::Recipes && channel == Some(last)),
            2 => assert_eq!(last, [&escaped(self.prefix)[..], b"*"].concat()),
            more => panic!("{more} words more"),
        }
        for (at, word) in old.iter().enumerate() {
            match marks.iter().find(|mark| mark.word == at).map(|Mark { place, .. }| place) {
                Some(Place::Key(_)) => {
                    assert!(plainly(self.glob, word));
                    assert_eq!(new[at], [self.prefix, word].concat());
                }
                Some(Place::Channel) => {
                    assert!(!self.prefix.is_empty(), "who is confined to keys has no channels");
                    assert_eq!(new[at], [self.prefix, word].concat());
                }
                Some(Place::Glob) => assert_eq!(new[at], [&escaped(self.prefix)[..], word].concat()),
                Some(Place::Elsewhere) => {
                    assert!(*word == b"#" || word.eq_ignore_ascii_case(b"nosort"));
                    assert_eq!(new[at], *word);
                }
                None => assert_eq!(new[at], *word),
            }
        }
    }

    /// Any words as a raw command: never a panic, and each is as it was or has the prefix.
    fn raw(&self, body: &[u8]) {
        let words: Vec<&[u8]> = body.split(|byte| *byte == b' ').collect();
        let mut raw = BytesMut::new();
        resp::write_command(&mut raw, &words);
        if self.rights.admit_raw(resolve(&words), &mut raw).is_ok() {
            let new = command(&raw);
            for (old, new) in words.iter().zip(new) {
                assert!(new == *old || new == [self.prefix, old].concat() || new == [&escaped(self.prefix)[..], old].concat());
            }
        }
    }
}

fn escaped(prefix: &[u8]) -> Vec<u8> {
    prefix.iter().flat_map(|byte| b"*?[]^\\-".contains(byte).then_some(b'\\').into_iter().chain([*byte])).collect()
}

/// A part of a glob.
enum Part {
    Any,
    One(Box<dyn Fn(u8) -> bool>),
}

/// Whether a glob matches: first taken apart, then tried in every way.
fn plainly(glob: &[u8], text: &[u8]) -> bool {
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    for part in parts(glob) {
        let mut next = vec![false; text.len() + 1];
        for at in 0..=text.len() {
            match &part {
                Part::Any => next[at] = reached[at] || (at > 0 && next[at - 1]),
                Part::One(fits) => next[at] = at > 0 && reached[at - 1] && fits(text[at - 1]),
            }
        }
        reached = next;
    }
    reached[text.len()]
}

fn parts(glob: &[u8]) -> Vec<Part> {
    let (mut parts, mut rest) = (Vec::new(), glob);
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        let first = *first;
        parts.push(match first {
            b'*' => Part::Any,
            b'?' => Part::One(Box::new(|_| true)),
            b'\\' if !rest.is_empty() => {
                let literal = rest[0];
                rest = &rest[1..];
                Part::One(Box::new(move |byte| byte == literal))
            }
            b'[' => {
                let (ranges, is_inverted);
                (ranges, is_inverted, rest) = class(rest);
                Part::One(Box::new(move |byte| ranges.iter().any(|(low, high)| (*low..=*high).contains(&byte)) != is_inverted))
            }
            literal => Part::One(Box::new(move |byte| byte == literal)),
        });
    }
    parts
}

/// What a class holds, whether it is what it does not hold, and what is behind it.
fn class(mut rest: &[u8]) -> (Vec<(u8, u8)>, bool, &[u8]) {
    let is_inverted = rest.first() == Some(&b'^');
    rest = &rest[usize::from(is_inverted)..];
    let mut ranges = Vec::new();
    while let Some(first) = rest.first() {
        let (range, taken) = match rest {
            [b']', ..] => return (ranges, is_inverted, &rest[1..]),
            [b'\\', literal, ..] => ((*literal, *literal), 2),
            [low, b'-', high, ..] => ((*low.min(high), *low.max(high)), 3),
            _ => ((*first, *first), 1),
        };
        ranges.push(range);
        rest = &rest[taken..];
    }
    (ranges, is_inverted, rest)
}
