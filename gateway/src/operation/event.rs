//! What is heard on channels, as clients read it.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;

use super::{encode::Encoding, write::write_string};
use crate::backend::channels::Message;

/// The members of a message's object and its end: `,"channel":"c","message":"hello"}`, so that members can stand before
/// them. Written once for all who hear the message. Where something is not UTF-8, all is base64 and says so.
pub fn members(message: &Message, encoding: Encoding) -> &Bytes {
    let index = usize::from(encoding == Encoding::Base64);
    message.rendered[index].get_or_init(|| {
        let parts = [("channel", Some(&message.channel)), ("pattern", message.pattern.as_ref()), ("message", Some(&message.payload))];
        let parts = || parts.iter().filter_map(|(name, bytes)| Some((name, (*bytes)?)));
        let mut out = Vec::with_capacity(message.channel.len() + message.payload.len() + 64);
        let texts: Option<Vec<&str>> = parts().map(|(_, bytes)| std::str::from_utf8(bytes).ok()).collect();
        let texts = texts.filter(|_| encoding == Encoding::Utf8);
        for (index, (name, bytes)) in parts().enumerate() {
            out.extend_from_slice(b",\"");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
            match &texts {
                Some(texts) => write_string(&mut out, texts[index]),
                None => write_string(&mut out, &STANDARD.encode(bytes)),
            }
        }
        out.extend_from_slice(if texts.is_some() { b"}" } else { b",\"encoding\":\"base64\"}" });
        out.into()
    })
}

#[cfg(test)]
mod tests {
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
        assert_eq!(members(&text, Encoding::Utf8), r#","channel":"c","pattern":"*","message":"h\"é"}"#);
        assert_eq!(members(&text, Encoding::Base64), r#","channel":"Yw==","pattern":"Kg==","message":"aCLDqQ==","encoding":"base64"}"#);
        assert_eq!(members(&message(b"\xff", None), Encoding::Utf8), r#","channel":"Yw==","message":"/w==","encoding":"base64"}"#);
    }
}
