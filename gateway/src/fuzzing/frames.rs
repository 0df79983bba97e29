//! Replies as a server, or who sits in its place, may send them.

use std::sync::OnceLock;

use bytes::{Bytes, BytesMut};
use dbx_crds::config::Grant;
use serde::de::IgnoredAny;

use super::{line, operation, rights};
use crate::{
    auth::Rights,
    error::Error,
    operation::{
        encode::{Encoding, Plan},
        render::{self, Format},
    },
    resp::{self, Malformed, Reader, Scanner},
};

/// Inputs: the name of an operation, a line end, its reply. Where a reply ends does not depend on how it arrives, and what is made
/// of one is JSON or an error.
pub fn frames(data: &[u8]) {
    let (name, bytes) = line(data);
    let piece = 1 + name.iter().fold(0_usize, |sum, byte| sum.wrapping_add(usize::from(*byte))) % 17;
    let whole = Scanner::default().scan(bytes);
    assert_eq!(in_pieces(bytes, piece), whole);
    let Ok(Some(end)) = whole else {
        let mut rest = bytes;
        assert_eq!(resp::take_frame(&mut rest), None);
        let _ = thrown_away(bytes, piece);
        return;
    };
    assert_eq!(thrown_away(bytes, piece), Ok(bytes.len() - end));
    let frame = Bytes::copy_from_slice(&bytes[..end]);
    let mut reader = Reader::new(&frame);
    while reader.position() < end {
        assert!(reader.read().is_ok());
    }
    assert_eq!(reader.read(), Err(Malformed));
    shown(name, &frame);
    // As who is confined to a prefix sees it.
    let hidden = confined().hide(Some(operation(name)), &frame);
    assert_eq!(Scanner::default().scan(&hidden), Ok(Some(hidden.len())));
    shown(name, &hidden);
}

fn shown(name: &[u8], frame: &[u8]) {
    let operation = operation(name).operation();
    let plan = Plan { shape: operation.reply, columns: 0, idempotent: operation.idempotent, reads: false, mode: operation.mode };
    for (encoding, integers_as_strings) in [(Encoding::Utf8, false), (Encoding::Base64, true)] {
        let format = Format { encoding, integers_as_strings };
        made(|out| operation.render(&plan, frame, &format, out));
        made(|out| render::render_raw(frame, &format, out));
    }
    let _ = render::value(frame);
}

/// What is written is JSON, and nothing where it fails.
fn made(write: impl FnOnce(&mut Vec<u8>) -> Result<(), Error>) {
    let mut out = Vec::new();
    match write(&mut out) {
        Ok(()) => assert!(serde_json::from_slice::<IgnoredAny>(&out).is_ok(), "{}", String::from_utf8_lossy(&out)),
        Err(_) => assert!(out.is_empty()),
    }
}

fn in_pieces(bytes: &[u8], piece: usize) -> Result<Option<usize>, Malformed> {
    let mut scanner = Scanner::default();
    for end in (0..bytes.len()).step_by(piece).chain([bytes.len()]) {
        let found = scanner.scan(&bytes[..end])?;
        if let Some(found) = found {
            assert!(found <= end);
            return Ok(Some(found));
        }
        assert!(scanner.least(&bytes[..end]) <= isize::MAX.unsigned_abs());
    }
    Ok(None)
}

/// How many bytes are left once a reply was thrown away.
fn thrown_away(bytes: &[u8], piece: usize) -> Result<usize, Malformed> {
    let (mut scanner, mut arrived, mut rest) = (Scanner::default(), BytesMut::new(), bytes);
    while !rest.is_empty() {
        let (next, behind) = rest.split_at(piece.min(rest.len()));
        arrived.extend_from_slice(next);
        rest = behind;
        if scanner.discard(&mut arrived)? {
            return Ok(arrived.len() + rest.len());
        }
    }
    Err(Malformed)
}

fn confined() -> &'static Rights {
    static RIGHTS: OnceLock<Rights> = OnceLock::new();
    RIGHTS.get_or_init(|| {
        let grant = Grant { access: vec!["read".into(), "write".into()], prefix: Some("p:".into()), ..Grant::default() };
        rights(&grant).expect("the grant is sound")
    })
}
