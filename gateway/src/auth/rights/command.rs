//! Putting a prefix before the keys, channels and globs of an encoded command.

use bytes::BytesMut;

use super::escaped;
use crate::{
    operation::{
        Group, Id,
        encode::{Marks, Place},
        param::{Kind, Token},
    },
    resp,
};

/// A prefix and where it goes.
pub(super) struct Change<'a> {
    pub(super) prefix: &'a [u8],
    pub(super) marks: &'a Marks,
}

impl Change<'_> {
    /// Rewrites the command behind `start`. One that chooses among all keys and names no glob gets one.
    pub(super) fn apply(&self, id: Id, command: &mut BytesMut, start: usize) {
        let (glob, kept) = (self.glob(id), self.kept(id));
        if self.marks.is_empty() && glob.is_none() {
            return;
        }
        let old = command.split_off(start);
        let words = resp::words(&old);
        command.reserve(old.len() + self.marks.len() * (self.prefix.len() + 8));
        resp::write_array(command, words.len() + if glob.is_some() { 2 } else { 0 } + usize::from(kept.is_some()));
        let mut marks = self.marks.iter().peekable();
        let mut name = Vec::new();
        for (at, word) in words.iter().enumerate() {
            let before = match marks.next_if(|mark| mark.word == at).map(|mark| mark.place) {
                Some(Place::Key(_) | Place::Channel) => self.prefix.to_vec(),
                Some(Place::Glob) => escaped(self.prefix),
                Some(Place::Elsewhere) | None => {
                    resp::write_bulk(command, word);
                    continue;
                }
            };
            name.clear();
            name.extend_from_slice(&before);
            name.extend_from_slice(word);
            resp::write_bulk(command, &name);
        }
        if let Some(channel) = kept.and_then(|at| words.get(at)) {
            resp::write_bulk(command, channel);
        }
        if let Some(token) = glob {
            resp::write_bulk(command, token.as_bytes());
            resp::write_bulk(command, &[&escaped(self.prefix)[..], b"*"].concat());
        }
    }

    /// Where the channel stands that a script of the gateway's own keeps: it is told as the caller calls it, behind everything else.
    fn kept(&self, id: Id) -> Option<usize> {
        let channel = self.marks.iter().find(|mark| mark.place == Place::Channel)?;
        (id.operation().group == Group::Recipes).then_some(channel.word)
    }

    /// The token of a glob that the operation takes and the command does not have.
    fn glob(&self, id: Id) -> Option<&'static str> {
        if self.marks.iter().any(|mark| mark.place == Place::Glob) {
            return None;
        }
        id.operation().params.iter().find_map(|param| match (param.kind, param.token) {
            (Kind::Glob, Token::Once(token)) => Some(token),
            _ => None,
        })
    }
}
