//! What becomes of an operation that has waited when nobody gets its answer any more: what it took goes back to where it came
//! from. A reading of the command and its reply.

use bytes::BytesMut;

use super::Id;
use crate::resp::{Item, Reader, write_array, write_bulk};

/// How an operation that can wait is undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Undo {
    /// It is not, and why that loses nothing.
    Nothing(&'static str),
    /// It cannot be withdrawn either: the server does not listen meanwhile.
    Never,
    /// The element is put back at this end.
    Push(&'static str),
    /// The elements are put back at the end that the command names.
    PushWhere,
    /// The member is put back with its score.
    Add,
    /// Those members are put back with their scores.
    AddAll,
}

/// Every operation that can wait for long.
const TABLE: &[(&str, Undo)] = &[
    ("blmove", Undo::Nothing("the element is at the end of the other list")),
    ("blmpop", Undo::PushWhere),
    ("blpop", Undo::Push("LPUSH")),
    ("brpop", Undo::Push("RPUSH")),
    ("brpoplpush", Undo::Nothing("the element is at the front of the other list")),
    ("bzmpop", Undo::AddAll),
    ("bzpopmax", Undo::Add),
    ("bzpopmin", Undo::Add),
    ("migrate", Undo::Never),
    ("xread", Undo::Nothing("it only reads")),
    ("xreadgroup", Undo::Nothing("the entries stay pending for their consumer")),
];

fn of(operation: Id) -> Undo {
    let name = operation.operation().name;
    TABLE.iter().find(|(known, _)| *known == name).map_or(Undo::Never, |(_, undo)| *undo)
}

/// Whether the server can be asked to let it go.
pub fn can_be_withdrawn(operation: Id) -> bool {
    of(operation) != Undo::Never
}

/// Whether it takes something that would be lost with its answer.
pub fn takes(operation: Id) -> bool {
    !matches!(of(operation), Undo::Nothing(_) | Undo::Never)
}

/// The command that puts back what a command has taken, and how many elements those are; none if it took nothing.
pub fn command(operation: Id, command: &[u8], reply: &[u8]) -> Option<(BytesMut, usize)> {
    let undo = of(operation);
    if matches!(undo, Undo::Nothing(_) | Undo::Never) {
        return None;
    }
    // A null array and an error took nothing.
    let values = values(reply)?;
    let (key, rest) = values.split_first()?;
    let mut words: Vec<&[u8]> = Vec::with_capacity(values.len() + 2);
    match undo {
        // The one taken first was nearest to the end, and is the last to be put back.
        Undo::Push(push) => words.extend([push.as_bytes(), key].into_iter().chain(rest.iter().rev().copied())),
        Undo::PushWhere => words.extend([pushed_by(command)?, key].into_iter().chain(rest.iter().rev().copied())),
        // Who has added the member again by now knows better.
        Undo::Add | Undo::AddAll => {
            words.extend([b"ZADD", *key, b"NX"]);
            words.extend(rest.chunks_exact(2).flat_map(|pair| [pair[1], pair[0]]));
        }
        Undo::Nothing(_) | Undo::Never => return None,
    }
    let elements = if matches!(undo, Undo::Add | Undo::AddAll) { rest.len() / 2 } else { rest.len() };
    if elements == 0 {
        return None;
    }
    let mut out = BytesMut::with_capacity(reply.len() + 32);
    write_array(&mut out, words.len());
    words.iter().for_each(|word| write_bulk(&mut out, word));
    Some((out, elements))
}

/// All byte strings of a reply, in order; none if it is null or an error.
fn values(reply: &[u8]) -> Option<Vec<&[u8]>> {
    let mut reader = Reader::new(reply);
    let mut values = Vec::new();
    let mut left = 1;
    while left > 0 {
        left -= 1;
        match reader.read().ok()? {
            Item::Array(Some(elements)) => left += elements,
            Item::Bulk(Some(value)) => values.push(value),
            _ => return None,
        }
    }
    Some(values)
}

/// The command that adds at the end that `BLMPOP timeout numkeys key … LEFT|RIGHT` takes from.
fn pushed_by(command: &[u8]) -> Option<&'static [u8]> {
    let words = values(command)?;
    let keys: usize = std::str::from_utf8(words.get(2)?).ok()?.parse().ok()?;
    let end = words.get(3 + keys)?;
    Some(if end.eq_ignore_ascii_case(b"LEFT") { b"LPUSH" } else { b"RPUSH" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::{Mode, find, ids, param::Effect};

    fn encoded(words: &str) -> BytesMut {
        let words: Vec<&str> = words.split(' ').collect();
        let mut out = BytesMut::new();
        crate::resp::write_command(&mut out, &words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>());
        out
    }

    #[test]
    fn every_operation_that_waits_is_in_the_table() {
        let waits = |id: &Id| {
            let operation = id.operation();
            let blocks = |effect: &Effect| matches!(effect, Effect::Blocks(_));
            matches!(operation.mode, Mode::Blocking(_)) || operation.params.iter().any(|param| param.effects.iter().any(blocks))
        };
        let mut waiting: Vec<&str> = ids().filter(waits).map(|id| id.operation().name).collect();
        waiting.sort_unstable();
        assert_eq!(waiting, TABLE.iter().map(|(name, _)| *name).collect::<Vec<_>>());
        for (name, undo) in TABLE {
            let changes = find(name).unwrap().operation().changes();
            assert!(changes || matches!(undo, Undo::Nothing(_)), "{name}");
        }
    }

    #[test]
    fn what_was_taken_goes_back_to_where_it_came_from() {
        for (name, called, reply, expected) in [
            ("blpop", "BLPOP a b 0", "*2\r\n$1\r\nb\r\n$2\r\n\r\n\r\n", Some(("LPUSH b \r\n", 1))),
            ("brpop", "BRPOP a 0", "*2\r\n$1\r\na\r\n$1\r\nx\r\n", Some(("RPUSH a x", 1))),
            ("blmpop", "BLMPOP 0 2 a b LEFT COUNT 2", "*2\r\n$1\r\nb\r\n*2\r\n$1\r\nx\r\n$1\r\ny\r\n", Some(("LPUSH b y x", 2))),
            ("blmpop", "BLMPOP 0 1 a RIGHT COUNT 2", "*2\r\n$1\r\na\r\n*2\r\n$1\r\ny\r\n$1\r\nx\r\n", Some(("RPUSH a x y", 2))),
            ("bzpopmin", "BZPOPMIN a 0", "*3\r\n$1\r\na\r\n$1\r\nx\r\n$3\r\n1.5\r\n", Some(("ZADD a NX 1.5 x", 1))),
            ("bzpopmax", "BZPOPMAX a 0", "*3\r\n$1\r\na\r\n$1\r\nx\r\n$3\r\ninf\r\n", Some(("ZADD a NX inf x", 1))),
            (
                "bzmpop",
                "BZMPOP 0 1 a MIN COUNT 2",
                "*2\r\n$1\r\na\r\n*2\r\n*2\r\n$1\r\nx\r\n$1\r\n1\r\n*2\r\n$1\r\ny\r\n$1\r\n2\r\n",
                Some(("ZADD a NX 1 x 2 y", 2)),
            ),
            ("blpop", "BLPOP a 0", "*-1\r\n", None),
            ("blpop", "BLPOP a 0", "-WRONGTYPE x\r\n", None),
            ("blmove", "BLMOVE a b LEFT LEFT 0", "$1\r\nx\r\n", None),
            ("xreadgroup", "XREADGROUP GROUP g c BLOCK 0 STREAMS s >", "*1\r\n*2\r\n$1\r\ns\r\n*0\r\n", None),
        ] {
            let found = command(find(name).unwrap(), &encoded(called), reply.as_bytes());
            assert_eq!(found, expected.map(|(words, count)| (encoded(words), count)), "{called}");
        }
    }
}
