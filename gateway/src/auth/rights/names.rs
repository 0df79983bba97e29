//! Where replies hold names of keys, so that a caller is told those that it may know of, as it knows them.

use std::sync::OnceLock;

use bytes::{Bytes, BytesMut};

use crate::{
    operation::{Id, find, ids},
    resp::{self, Item, Reader},
};

/// Where in a reply keys stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// Every element.
    All,
    /// Every element of the second element.
    Page,
    /// The first element.
    First,
    /// The first element of each element.
    EachFirst,
    /// Every other element, from the first on.
    Alternate,
}

impl Names {
    /// Whether they are what was found, and not what the caller has named.
    pub(super) fn is_list(self) -> bool {
        matches!(self, Self::All | Self::Page)
    }
}

/// The operations whose replies name keys.
const REPLIES: &[(&str, Names)] = &[
    ("keys", Names::All),
    ("scan", Names::Page),
    ("blpop", Names::First),
    ("brpop", Names::First),
    ("bzpopmin", Names::First),
    ("bzpopmax", Names::First),
    ("lmpop", Names::First),
    ("blmpop", Names::First),
    ("zmpop", Names::First),
    ("bzmpop", Names::First),
    ("xread", Names::EachFirst),
    ("xreadgroup", Names::EachFirst),
    // Those of channels.
    ("pubsub_numsub", Names::Alternate),
    ("pubsub_shardnumsub", Names::Alternate),
];

/// Where the reply of an operation holds keys, if it does.
pub(super) fn of(id: Id) -> Option<Names> {
    static BY_ID: OnceLock<Vec<Option<Names>>> = OnceLock::new();
    let by_id = BY_ID.get_or_init(|| {
        let mut by_id = vec![None; ids().count()];
        for (name, names) in REPLIES {
            if let Some(id) = find(name) {
                by_id[id.index()] = Some(*names);
            }
        }
        by_id
    });
    by_id[id.index()]
}

/// A reply with each key as `told` gives it; in lists of keys, without those for which it gives none. A reply of another form, an
/// error or null, is as it was.
pub(super) fn tell(names: Names, frame: &Bytes, told: impl for<'k> Fn(&'k [u8]) -> Option<&'k [u8]>) -> Bytes {
    match rewrite(names, frame, told) {
        Some(out) => out.freeze(),
        None => frame.clone(),
    }
}

fn rewrite(names: Names, frame: &[u8], told: impl for<'k> Fn(&'k [u8]) -> Option<&'k [u8]>) -> Option<BytesMut> {
    let mut out = BytesMut::with_capacity(frame.len());
    let mut reader = Reader::new(frame);
    let Ok(Item::Array(Some(count))) = reader.read() else { return None };
    let mut rest = &frame[reader.position()..];
    match names {
        Names::All => list(&mut out, count, &mut rest, told)?,
        Names::Page => {
            resp::write_array(&mut out, count);
            out.extend_from_slice(resp::take_frame(&mut rest)?);
            let mut reader = Reader::new(rest);
            let Ok(Item::Array(Some(keys))) = reader.read() else { return None };
            rest = &rest[reader.position()..];
            list(&mut out, keys, &mut rest, told)?;
        }
        Names::First => {
            resp::write_array(&mut out, count);
            if count > 0 {
                resp::write_bulk(&mut out, told(key(&mut rest)?).unwrap_or_default());
            }
        }
        Names::Alternate => {
            resp::write_array(&mut out, count);
            for _ in 0..count / 2 {
                resp::write_bulk(&mut out, told(key(&mut rest)?).unwrap_or_default());
                out.extend_from_slice(resp::take_frame(&mut rest)?);
            }
        }
        Names::EachFirst => {
            resp::write_array(&mut out, count);
            for _ in 0..count {
                let mut reader = Reader::new(rest);
                let Ok(Item::Array(Some(parts))) = reader.read() else { return None };
                rest = &rest[reader.position()..];
                resp::write_array(&mut out, parts);
                resp::write_bulk(&mut out, told(key(&mut rest)?).unwrap_or_default());
                for _ in 1..parts {
                    out.extend_from_slice(resp::take_frame(&mut rest)?);
                }
            }
        }
    }
    out.extend_from_slice(rest);
    Some(out)
}

fn key<'f>(rest: &mut &'f [u8]) -> Option<&'f [u8]> {
    let mut reader = Reader::new(rest);
    let Ok(Item::Bulk(Some(key))) = reader.read() else { return None };
    *rest = &rest[reader.position()..];
    Some(key)
}

fn list(out: &mut BytesMut, count: usize, rest: &mut &[u8], told: impl for<'k> Fn(&'k [u8]) -> Option<&'k [u8]>) -> Option<()> {
    let mut keys = Vec::with_capacity(count.min(1024));
    for _ in 0..count {
        if let Some(key) = told(key(rest)?) {
            keys.push(key);
        }
    }
    resp::write_array(out, keys.len());
    keys.iter().for_each(|key| resp::write_bulk(out, key));
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_as_the_caller_knows_them() {
        let tell = |names, frame: &'static str| {
            let told = tell(names, &Bytes::from_static(frame.as_bytes()), |key| key.strip_prefix(b"p:"));
            String::from_utf8(told.to_vec()).unwrap()
        };
        assert_eq!(tell(Names::All, "*2\r\n$3\r\np:a\r\n$3\r\nq:a\r\n"), "*1\r\n$1\r\na\r\n");
        assert_eq!(tell(Names::Page, "*2\r\n$1\r\n0\r\n*2\r\n$1\r\nx\r\n$3\r\np:b\r\n"), "*2\r\n$1\r\n0\r\n*1\r\n$1\r\nb\r\n");
        assert_eq!(tell(Names::First, "*2\r\n$3\r\np:a\r\n$3\r\np:v\r\n"), "*2\r\n$1\r\na\r\n$3\r\np:v\r\n");
        assert_eq!(tell(Names::Alternate, "*2\r\n$3\r\np:c\r\n:1\r\n"), "*2\r\n$1\r\nc\r\n:1\r\n");
        assert_eq!(tell(Names::EachFirst, "*1\r\n*2\r\n$3\r\np:s\r\n*0\r\n"), "*1\r\n*2\r\n$1\r\ns\r\n*0\r\n");
        for other in ["*-1\r\n", "$-1\r\n", "-ERR p:a\r\n", "+QUEUED\r\n"] {
            assert_eq!(tell(Names::First, other), other);
        }
    }

    #[test]
    fn the_operations_exist() {
        assert!(REPLIES.iter().all(|(name, _)| find(name).is_some()));
    }
}
