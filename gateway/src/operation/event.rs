//! What is heard on channels, as clients read it.

use std::borrow::Cow;

use super::{encode::Encoding, write::write_string};
use crate::{auth::Rights, backend::channels::Message};
use base64::{Engine, engine::general_purpose::STANDARD};

/// The members of a message's object and its end: `,"channel":"c","message":"hello"}`, so that members can stand before
/// them. Written once for all who hear the message. Where something is not UTF-8, all is base64 and says so.
///
/// Who has a prefix is told the names without it, by a rendering of its own.
pub fn members<'m>(message: &'m Message, rights: &Rights, encoding: Encoding) -> Cow<'m, [u8]> {
    let render = || {
        let (channel, payload) = (("channel", rights.heard(&message.channel)), ("message", &message.payload[..]));
        match &message.pattern {
            Some(pattern) => write(&[channel, ("pattern", rights.heard_glob(pattern)), payload], encoding),
            None => write(&[channel, payload], encoding),
        }
    };
    if !rights.sees_all() {
        return Cow::Owned(render());
    }
    // Whoever is told nothing else shares one rendering.
    Cow::Borrowed(message.rendered[usize::from(encoding == Encoding::Base64)].get_or_init(|| render().into()))
}

/// The same for something that happened to a key: `,"key":"a","event":"set"}`.
pub fn key_members(key: &[u8], event: &[u8], encoding: Encoding) -> Vec<u8> {
    write(&[("key", key), ("event", event)], encoding)
}

fn write(members: &[(&str, &[u8])], encoding: Encoding) -> Vec<u8> {
    let mut out = Vec::with_capacity(members.iter().map(|(name, bytes)| name.len() + bytes.len() + 6).sum());
    let is_text = encoding == Encoding::Utf8 && members.iter().all(|(_, bytes)| std::str::from_utf8(bytes).is_ok());
    for (name, bytes) in members {
        out.push(b',');
        write_string(&mut out, name);
        out.push(b':');
        match std::str::from_utf8(bytes) {
            Ok(text) if is_text => write_string(&mut out, text),
            _ => write_string(&mut out, &STANDARD.encode(bytes)),
        }
    }
    out.extend_from_slice(if is_text { b"}" } else { b",\"encoding\":\"base64\"}" });
    out
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn messages_are_text_where_they_can_be() {
        let message = |payload: &'static [u8], pattern: Option<&'static [u8]>| Message {
            channel: Bytes::from_static(b"c"),
            pattern: pattern.map(Bytes::from_static),
            payload: Bytes::from_static(payload),
            rendered: Default::default(),
        };
        let text = message("h\"é".as_bytes(), Some(b"*"));
        assert_eq!(&*members(&text, &Rights::all(), Encoding::Utf8), r#","channel":"c","pattern":"*","message":"h\"é"}"#.as_bytes());
        assert_eq!(
            &*members(&text, &Rights::all(), Encoding::Base64),
            r#","channel":"Yw==","pattern":"Kg==","message":"aCLDqQ==","encoding":"base64"}"#.as_bytes()
        );
        assert_eq!(
            &*members(&message(b"\xff", None), &Rights::all(), Encoding::Utf8),
            r#","channel":"Yw==","message":"/w==","encoding":"base64"}"#.as_bytes()
        );
    }
}
