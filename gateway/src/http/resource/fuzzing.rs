//! Addresses as strangers write them.

use axum::http::Uri;
use bytes::BytesMut;

use super::{KEY_BASE64, Read, Segment, find};
use crate::{
    fuzzing::command,
    http::{
        request::{self, Media},
        resource::{begins, exists},
    },
    operation::{
        Mode,
        encode::{Encoding, Rules},
        param::Kind,
    },
};

const RULES: Rules = Rules { encoding: Encoding::Utf8, max_key_bytes: 256, max_value_bytes: 1024 };

/// Inputs: a path below a database with its query, a line end, a body. What is matched is all of the path, and what is said in it
/// arrives in the command, to the byte.
pub fn paths(data: &[u8]) {
    let end = memchr::memchr(b'\n', data).unwrap_or(data.len());
    let (target, body) = (&data[..end], data.get(end + 1..).unwrap_or_default());
    let Ok(uri) = Uri::try_from([b"/", target].concat()) else { return };
    if uri.authority().is_some() {
        return;
    }
    let path = uri.path().strip_prefix('/').expect("it was put there");
    path.split('/').for_each(segment);
    let Ok(mut query) = request::query(&uri) else { return };
    let key = query.iter().position(|(name, _)| name == KEY_BASE64).map(|at| query.remove(at).1);
    let Some((resource, variables)) = find(path, key.is_some()) else { return };
    assert!(exists(path) && begins(path.split('/').next().unwrap_or_default()));
    if key.is_none() {
        let mut given = variables.iter();
        let written = resource.segments.iter().map(|segment| match segment {
            Segment::Word(word) => *word,
            Segment::Variable(_) => given.next().map_or("", |(_, raw)| *raw),
        });
        assert_eq!(written.collect::<Vec<_>>().join("/"), path);
    }
    for media in [Media::Json, Media::Bytes] {
        let read = Read { path: variables.clone(), key: key.as_deref(), query: query.clone(), media, body };
        for (id, _) in &resource.routes {
            let Ok(arguments) = read.arguments(*id) else { continue };
            let mut out = BytesMut::new();
            if id.operation().encode_any(&arguments, &RULES, &mut out).is_err() {
                assert!(out.is_empty());
                continue;
            }
            let words = command(&out);
            let is_sent = |name: &str| {
                let param = id.operation().params.iter().find(|param| param.answers_to(name));
                param.is_some_and(|param| matches!(param.kind, Kind::Key(_)) && matches!(id.operation().mode, Mode::Call))
            };
            for (name, raw) in variables.iter().filter(|(name, _)| is_sent(name)) {
                let key = request::decode(raw).expect("it was read before");
                assert!(words.contains(&&*key), "{name} of {}", id.operation().name);
            }
        }
    }
}

/// A segment is decoded as it plainly says, or refused.
fn segment(raw: &str) {
    let mut plain = Some(Vec::new());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16));
        let decoded = match byte {
            b'%' => digit().zip(digit()).and_then(|(high, low)| u8::try_from(high * 16 + low).ok()),
            byte => Some(byte),
        };
        plain = plain.zip(decoded).map(|(mut plain, byte)| {
            plain.push(byte);
            plain
        });
    }
    assert_eq!(request::decode(raw).ok().map(std::borrow::Cow::into_owned), plain, "{raw}");
}
