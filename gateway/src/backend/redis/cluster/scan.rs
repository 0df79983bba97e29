//! SCAN over a whole cluster. The cursor says which slots have been seen, in their order, and nothing is kept but that: a key
//! that is there from the first page to the last is returned at least once, wherever it is moved meanwhile.
//!
//! A pass goes over the node that has the first slot not yet seen, and gives the keys of that slot and of those that follow it
//! there. At its end the node says which of them it still has: what has gone is not counted as seen, and is looked for where
//! it is now. Of a slot that is just leaving, what has gone ahead is found by a pass over the node that gets it.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use dbx_crds::config::Host;
use smallvec::{SmallVec, smallvec};

use super::{Cluster, Node, SLOTS, gather::Redirect, slot, view};
use crate::{
    backend::{Backend, Failure, TOO_LARGE},
    error::{Code, Delivery},
    resp::{self, Item, Malformed, Reader, words},
};

/// A node's own cursor has this much room in ours. It counts with its highest bit first, so where it needs more bits, one
/// in two, four, eight … of its cursors has room.
const CURSOR_BITS: u32 = 24;
const NODE_BITS: u32 = 12;
const SLOT_BITS: u32 = 14;
/// What is asked for at once until there is room for a node's cursor again.
const LITTLE: &[u8] = b"1";

/// How far a scan has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    /// What this pass is for.
    pass: Pass,
    /// A hint of the node: its cursor means nothing to another.
    node: u64,
    /// The node's own cursor, 0 at the start.
    cursor: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    /// These slots of the node that has the first.
    Range(usize, usize),
    /// The slot's keys at the node that gets it.
    Ahead(usize),
}

impl Position {
    /// Before a slot.
    fn before(slot: usize) -> Self {
        Self { pass: Pass::Range(slot, SLOTS - 1), node: 0, cursor: 0 }
    }

    fn read(cursor: &[u8]) -> Option<Self> {
        let cursor: u64 = std::str::from_utf8(cursor).ok()?.parse().ok()?;
        if cursor == 0 {
            return Some(Self::before(0));
        }
        let field = |at: u32, bits: u32| (cursor >> at) & ((1 << bits) - 1);
        let slot = |at| usize::try_from(field(at, SLOT_BITS)).unwrap_or_default();
        let (first, last) = (slot(CURSOR_BITS + NODE_BITS + SLOT_BITS), slot(CURSOR_BITS + NODE_BITS));
        let pass = match (first, last) {
            (first, last) if first <= last => Pass::Range(first, last),
            (first, 0) => Pass::Ahead(first),
            _ => Pass::Ahead(0),
        };
        Some(Self { pass, node: field(CURSOR_BITS, NODE_BITS), cursor: field(0, CURSOR_BITS) })
    }

    /// What the caller gets. Never 0.
    fn text(self) -> String {
        let (first, last) = match self.pass {
            Pass::Range(first, last) => (first, last),
            // A range that is none.
            Pass::Ahead(0) => (SLOTS - 1, 1),
            Pass::Ahead(slot) => (slot, 0),
        };
        let slots = ((first as u64) << SLOT_BITS) | last as u64;
        ((((slots << NODE_BITS) | self.node) << CURSOR_BITS) | self.cursor).to_string()
    }

    fn wants(self, slot: usize) -> bool {
        match self.pass {
            Pass::Range(first, last) => (first..=last).contains(&slot),
            Pass::Ahead(ahead) => ahead == slot,
        }
    }
}

/// A node told from nearly all others: two in 4096 look the same, and one would go on with the other's cursor.
fn hint(host: &Host) -> u64 {
    u64::from(crc16::State::<crc16::XMODEM>::calculate(host.to_string().as_bytes())) & ((1 << NODE_BITS) - 1)
}

fn broken() -> Failure {
    Failure { code: Code::BackendError, detail: "the database broke its protocol", delivery: Delivery::Unknown }
}

/// Answers a SCAN, its words as they were sent.
pub(super) async fn page(cluster: &Arc<Cluster>, command: &[u8]) -> Result<Bytes, Failure> {
    let words = words(command);
    let Some(mut at) = words.get(1).copied().and_then(Position::read) else { return Ok(Bytes::from_static(b"-ERR invalid cursor\r\n")) };
    let mut node = match at.pass {
        Pass::Range(first, _) => cluster.node_for(Some(first))?,
        Pass::Ahead(slot) => ahead(cluster, slot).await?,
    };
    if at.cursor == 0 || at.node != hint(&node.host) {
        let mut end = SLOTS - 1;
        if let Pass::Range(first, _) = at.pass {
            (node, end) = owner(cluster, node, first).await?;
        }
        // Another worker may have known better, and begun the pass already.
        if at.cursor == 0 || at.node != hint(&node.host) {
            at.cursor = 0;
            at.node = hint(&node.host);
            if let Pass::Range(_, last) = &mut at.pass {
                *last = end;
            }
        }
    }
    let (mut count, mut keys, mut more) = (0, BytesMut::new(), false);
    loop {
        let frame = ask(&node, &scan(&words, at.cursor, more)).await?;
        if frame.starts_with(b"-") {
            return Ok(frame);
        }
        let cursor = take(&frame, at, &mut count, &mut keys).map_err(|Malformed| broken())?;
        at.cursor = cursor;
        if keys.len() > cluster.bounds.result_bytes {
            return Ok(Bytes::from_static(TOO_LARGE));
        }
        if cursor >> CURSOR_BITS == 0 {
            break;
        }
        more = true;
    }
    let next = if at.cursor == 0 { after(cluster, at.pass, &node).await? } else { Some(at) };
    let mut out = BytesMut::with_capacity(keys.len() + 64);
    resp::write_array(&mut out, 2);
    resp::write_bulk(&mut out, next.map_or("0".to_owned(), Position::text).as_bytes());
    resp::write_array(&mut out, count);
    out.extend_from_slice(&keys);
    Ok(out.freeze())
}

/// The command for one node.
fn scan(words: &[&[u8]], cursor: u64, little: bool) -> BytesMut {
    let cursor = cursor.to_string();
    let mut all: SmallVec<[&[u8]; 8]> = smallvec![words[0], cursor.as_bytes()];
    all.extend_from_slice(&words[2..]);
    if little {
        all.extend_from_slice(&[b"COUNT", LITTLE]);
    }
    let mut out = BytesMut::new();
    resp::write_command(&mut out, &all);
    out
}

/// Takes the keys that are wanted from a node's page; its cursor.
fn take(frame: &[u8], at: Position, count: &mut usize, keys: &mut BytesMut) -> Result<u64, Malformed> {
    let mut reader = Reader::new(frame);
    let (Item::Array(Some(2)), Item::Bulk(Some(cursor)), Item::Array(Some(length))) = (reader.read()?, reader.read()?, reader.read()?)
    else {
        return Err(Malformed);
    };
    for _ in 0..length {
        let start = reader.position();
        let Item::Bulk(Some(key)) = reader.read()? else { return Err(Malformed) };
        if at.wants(slot(key)) {
            keys.extend_from_slice(&frame[start..reader.position()]);
            *count += 1;
        }
    }
    std::str::from_utf8(cursor).ok().and_then(|cursor| cursor.parse().ok()).ok_or(Malformed)
}

async fn ask(node: &Node, command: &[u8]) -> Result<Bytes, Failure> {
    node.redis.submit(command, smallvec![true])?.outcome().await
}

/// What is behind a pass that has ended.
async fn after(cluster: &Arc<Cluster>, pass: Pass, node: &Node) -> Result<Option<Position>, Failure> {
    let next = match pass {
        Pass::Ahead(slot) => slot + 1,
        Pass::Range(first, last) => {
            let frame = ask(node, NODES).await?;
            let text = text(&frame).ok_or_else(broken)?;
            let lines = view::read(text, &node.host);
            let line = lines.iter().find(|line| line.myself).ok_or_else(broken)?;
            let seen = (first..=last).find(|slot| !line.has(*slot) || line.gives(*slot).is_some()).unwrap_or(last + 1);
            if seen <= last {
                if line.has(seen) {
                    return Ok(Some(Position { pass: Pass::Ahead(seen), node: 0, cursor: 0 }));
                }
                cluster.stale.notify_one();
            }
            seen
        }
    };
    Ok((next < SLOTS).then(|| Position::before(next)))
}

/// The node that has a slot, as the node says of which that is thought, and the last of the slots that follow it there.
async fn owner(cluster: &Arc<Cluster>, thought: Arc<Node>, slot: usize) -> Result<(Arc<Node>, usize), Failure> {
    let frame = ask(&thought, NODES).await?;
    let lines = view::read(text(&frame).ok_or_else(broken)?, &thought.host);
    let Some(line) = lines.iter().find(|line| line.has(slot)) else { return Ok((thought, slot)) };
    let end = (slot..SLOTS).take_while(|slot| line.has(*slot)).last().unwrap_or(slot);
    if line.myself {
        return Ok((thought, end));
    }
    let Some(host) = line.hosts.first().cloned() else { return Err(broken()) };
    let node = cluster.redirected(&Redirect { slot, host, asking: false });
    node.connected().await;
    Ok((node, end))
}

/// The node that gets a slot, or has it, if it has arrived.
async fn ahead(cluster: &Arc<Cluster>, slot: usize) -> Result<Arc<Node>, Failure> {
    let (owner, _) = owner(cluster, cluster.node_for(Some(slot))?, slot).await?;
    let frame = ask(&owner, NODES).await?;
    let lines = view::read(text(&frame).ok_or_else(broken)?, &owner.host);
    let id = lines.iter().find(|line| line.myself).and_then(|line| line.gives(slot));
    let node = id.and_then(|id| lines.iter().find(|line| line.id == id)).and_then(|line| cluster.at(&line.hosts)).unwrap_or(owner);
    // It may have had no slots yet.
    node.connected().await;
    Ok(node)
}

/// `CLUSTER NODES`, encoded.
pub(super) const NODES: &[u8] = b"*2\r\n$7\r\nCLUSTER\r\n$5\r\nNODES\r\n";

/// A reply that is a text.
pub(super) fn text(frame: &[u8]) -> Option<&str> {
    match Reader::new(frame).read() {
        Ok(Item::Bulk(Some(text))) => std::str::from_utf8(text).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_come_back_as_they_went() {
        let ranges = [(0, 0), (0, 16383), (1, 1), (5461, 10922), (16383, 16383)].map(|(first, last)| Pass::Range(first, last));
        for pass in ranges.into_iter().chain([0, 1, 16383].map(Pass::Ahead)) {
            for (node, cursor) in [(0, 1), (4095, (1 << CURSOR_BITS) - 1), (7, 0)] {
                let at = Position { pass, node, cursor };
                assert_eq!(Position::read(at.text().as_bytes()), Some(at), "{}", at.text());
            }
        }
        for slot in [0, 1, 16383] {
            assert_ne!(Position::before(slot).text(), "0");
            assert_eq!(Position::read(Position::before(slot).text().as_bytes()), Some(Position::before(slot)));
        }
        assert_eq!(Position::read(b"0"), Some(Position::before(0)));
        assert_eq!(Position::read(b"x"), None);
        // Whatever a caller makes up is some place.
        assert!(Position::read(u64::MAX.to_string().as_bytes()).is_some());
    }

    #[test]
    fn only_keys_of_the_pass_are_taken() {
        let frame = b"*2\r\n$2\r\n17\r\n*2\r\n$3\r\nfoo\r\n$1\r\na\r\n";
        let (mut count, mut keys) = (0, BytesMut::new());
        let at = Position { pass: Pass::Ahead(slot(b"foo")), node: 0, cursor: 0 };
        assert_eq!(take(frame, at, &mut count, &mut keys), Ok(17));
        assert_eq!((count, &keys[..]), (1, &b"$3\r\nfoo\r\n"[..]));
    }
}
