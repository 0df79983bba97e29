//! Which commands a call becomes, and what their replies are together. A call whose keys live in several slots is done in
//! parts only where its caller says so: the parts are not one step.

use std::collections::HashSet;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use super::slot;
use crate::{
    backend::{Failure, TOO_LARGE},
    error::{Code, Delivery},
    operation::{Operation, Split, Together},
    resp::{self, Item, Reader},
};

/// How the reply to a call is made.
pub(super) enum Merge {
    /// The gateway knows it.
    Ready(&'static [u8]),
    /// It is the reply to one command.
    One(usize),
    /// It is a page of a scan.
    Page(Bytes),
    /// It is made of the replies to several: their places, and those of their keys among all of the call's.
    Parts { split: Split, droppable: bool, parts: Vec<(usize, Vec<usize>)> },
}

/// A part of a call: its slot, the places of its keys, and the command.
pub(super) type Part = (usize, Vec<usize>, Bytes);

/// The parts of a call, if it has several and can have them.
pub(super) fn parts(operation: &Operation, words: &[&[u8]]) -> Option<Vec<Part>> {
    let step = match operation.split {
        Split::Ordered | Split::Sum => 1,
        Split::AllSucceed => 2,
        Split::Never | Split::Nodes(_) => return None,
    };
    let (head, arguments) = words.split_at(operation.command.words.len().min(words.len()));
    let mut groups: Vec<(usize, Vec<usize>)> = Vec::new();
    for (index, key) in arguments.chunks(step).enumerate() {
        let slot = slot(key[0]);
        match groups.iter_mut().find(|(known, _)| *known == slot) {
            Some((_, keys)) => keys.push(index),
            None => groups.push((slot, vec![index])),
        }
    }
    if groups.len() < 2 || arguments.len() % step != 0 {
        return None;
    }
    let command = |keys: &[usize]| {
        let mut out = BytesMut::new();
        let mut all: SmallVec<[&[u8]; 8]> = head.iter().copied().collect();
        keys.iter().for_each(|key| all.extend_from_slice(&arguments[key * step..(key + 1) * step]));
        resp::write_command(&mut out, &all);
        out.freeze()
    };
    Some(groups.into_iter().map(|(slot, keys)| (slot, keys.clone(), command(&keys))).collect())
}

/// The replies to all calls, one after the other. That of a single call may be a failure; among several a failure takes the
/// place of the reply.
pub(super) fn assemble(merges: &[Merge], outcomes: Vec<Result<Bytes, Failure>>, most: usize) -> Result<Bytes, Failure> {
    if let [merge] = merges {
        return reply(merge, &outcomes, most);
    }
    let mut all = BytesMut::new();
    for merge in merges {
        match reply(merge, &outcomes, most) {
            Ok(frame) => {
                let droppable = matches!(merge, Merge::Parts { droppable: true, .. });
                all.extend_from_slice(if droppable && all.len() + frame.len() > most { TOO_LARGE } else { &frame });
            }
            Err(failure) => {
                let word: &[u8] = if failure.delivery == Delivery::NotSent { b"-DBXNOTSENT " } else { b"-DBXLOST " };
                all.extend_from_slice(word);
                all.extend_from_slice(failure.detail.as_bytes());
                all.extend_from_slice(b"\r\n");
            }
        }
    }
    Ok(all.freeze())
}

fn reply(merge: &Merge, outcomes: &[Result<Bytes, Failure>], most: usize) -> Result<Bytes, Failure> {
    match merge {
        Merge::Ready(frame) => Ok(Bytes::from_static(frame)),
        Merge::One(index) => outcomes[*index].clone(),
        Merge::Page(_) => Err(broken()),
        Merge::Parts { split, droppable, parts } => {
            let frame = together(*split, parts, outcomes)?;
            Ok(if *droppable && frame.len() > most { Bytes::from_static(TOO_LARGE) } else { frame })
        }
    }
}

fn broken() -> Failure {
    Failure { code: Code::BackendError, detail: "the database broke its protocol", delivery: Delivery::Unknown }
}

fn together(split: Split, parts: &[(usize, Vec<usize>)], outcomes: &[Result<Bytes, Failure>]) -> Result<Bytes, Failure> {
    let done: Vec<_> = parts.iter().map(|(index, _)| &outcomes[*index]).collect();
    if split == Split::Nodes(Together::OneSucceeds)
        && let Some(frame) = done.iter().copied().flatten().find(|frame| !frame.starts_with(b"-"))
    {
        return Ok(frame.clone());
    }
    if let Some(Err(failure)) = done.iter().find(|outcome| outcome.is_err()) {
        // Unless nothing was sent of any part, something may have been done.
        let unsent = done.iter().all(|outcome| matches!(outcome, Err(failure) if failure.delivery == Delivery::NotSent));
        let delivery = if unsent { Delivery::NotSent } else { Delivery::Unknown };
        return Err(Failure { delivery, ..failure.clone() });
    }
    let frames: Vec<&Bytes> = done.into_iter().flatten().collect();
    if let Some(error) = frames.iter().find(|frame| frame.starts_with(b"-")) {
        return Ok((*error).clone());
    }
    let Some(first) = frames.first().copied() else { return Err(broken()) };
    let merged = match split {
        Split::Ordered => ordered(&frames, parts),
        Split::Sum | Split::Nodes(Together::Sum) => {
            let sum = frames.iter().map(|frame| integer(Reader::new(frame).read().ok()?)).sum::<Option<i64>>();
            sum.map(|sum| format!(":{sum}\r\n").into())
        }
        Split::Nodes(Together::Joined | Together::Union) => lists(&frames).map(|mut lists| {
            if split == Split::Nodes(Together::Union) {
                let mut seen = HashSet::new();
                lists.iter_mut().for_each(|list| list.retain(|element| seen.insert(*element)));
            }
            array(&lists.concat())
        }),
        Split::Nodes(Together::Everywhere) => sums(&frames, |_| true).map(|sums| {
            let everywhere = i64::try_from(frames.len()).unwrap_or_default();
            numbers(sums.into_iter().map(|sum| sum.map(|sum| i64::from(sum == everywhere))), first)
        }),
        Split::Nodes(Together::Counts) => sums(&frames, |at| at % 2 == 1).map(|sums| numbers(sums.into_iter(), first)),
        Split::Nodes(Together::Any) => {
            Some((*frames.iter().find(|frame| !matches!(&frame[..], b"$-1\r\n" | b"*-1\r\n")).unwrap_or(&first)).clone())
        }
        Split::AllSucceed | Split::Never | Split::Nodes(_) => Some(first.clone()),
    };
    merged.ok_or_else(broken)
}

/// The elements of the replies, in the order of the keys.
fn ordered(frames: &[&Bytes], parts: &[(usize, Vec<usize>)]) -> Option<Bytes> {
    let count = parts.iter().map(|(_, keys)| keys.len()).sum();
    let mut elements: Vec<&[u8]> = vec![b""; count];
    for (list, (_, keys)) in lists(frames)?.into_iter().zip(parts) {
        if list.len() != keys.len() {
            return None;
        }
        list.into_iter().zip(keys).for_each(|(element, key)| elements[*key] = element);
    }
    Some(array(&elements))
}

/// The elements of each reply, which are no lists themselves.
fn lists<'a>(frames: &[&'a Bytes]) -> Option<Vec<Vec<&'a [u8]>>> {
    let list = |frame: &&'a Bytes| {
        let mut reader = Reader::new(frame);
        let Ok(Item::Array(Some(length))) = reader.read() else { return None };
        let element = |_| {
            let start = reader.position();
            match reader.read() {
                Ok(Item::Array(_)) | Err(_) => None,
                Ok(_) => Some(&frame[start..reader.position()]),
            }
        };
        (0..length).map(element).collect()
    };
    frames.iter().map(list).collect()
}

fn array(elements: &[&[u8]]) -> Bytes {
    let mut out = BytesMut::new();
    resp::write_array(&mut out, elements.len());
    elements.iter().for_each(|element| out.extend_from_slice(element));
    out.freeze()
}

fn integer(item: Item<'_>) -> Option<i64> {
    if let Item::Integer(text) = item { std::str::from_utf8(text).ok()?.parse().ok() } else { None }
}

/// The sum of what stands in each place of lists of one length, where it is a number.
fn sums(frames: &[&Bytes], is_number: impl Fn(usize) -> bool) -> Option<Vec<Option<i64>>> {
    let lists = lists(frames)?;
    let length = lists.first()?.len();
    let number = |element: &&[u8]| integer(Reader::new(element).read().ok()?);
    let sum = |at| match is_number(at) {
        true => lists.iter().map(|list| number(list.get(at)?)).sum::<Option<i64>>().map(Some),
        false => Some(None),
    };
    (0..length).map(sum).collect()
}

/// A list with these numbers; in the other places it is as the one given.
fn numbers(numbers: impl Iterator<Item = Option<i64>>, other: &Bytes) -> Bytes {
    let lists = lists(&[other]).unwrap_or_default();
    let others = lists.iter().flatten().copied();
    let elements: Vec<Bytes> =
        numbers.zip(others).map(|(number, other)| number.map_or(other.to_vec().into(), |number| format!(":{number}\r\n").into())).collect();
    array(&elements.iter().map(|element| &element[..]).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::find;

    fn split(line: &str) -> Option<Vec<String>> {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let operation = find(&line.split(' ').next().unwrap().to_lowercase()).unwrap().operation();
        let text = |command: Bytes| {
            let text = String::from_utf8(command.to_vec()).unwrap();
            text.split("\r\n").filter(|line| !line.starts_with(['*', '$']) && !line.is_empty()).collect::<Vec<_>>().join(" ")
        };
        parts(operation, &words).map(|parts| parts.into_iter().map(|(_, _, command)| text(command)).collect())
    }

    #[test]
    fn calls_are_split_by_slot() {
        assert_eq!(split("MGET a b {a}1").unwrap(), ["MGET a {a}1", "MGET b"]);
        assert_eq!(split("MSET a 1 b 2 {a} 3").unwrap(), ["MSET a 1 {a} 3", "MSET b 2"]);
        assert_eq!(split("DEL {a}1 {a}2"), None);
        assert_eq!(split("RENAME a b"), None);
    }

    #[test]
    fn replies_are_put_in_the_order_of_the_keys() {
        let frames = |frames: &[&'static str]| frames.iter().map(|frame| Ok(Bytes::from_static(frame.as_bytes()))).collect::<Vec<_>>();
        let merge = |split| [Merge::Parts { split, droppable: true, parts: vec![(0, vec![0, 2]), (1, vec![1])] }];
        let assembled = assemble(&merge(Split::Ordered), frames(&["*2\r\n$1\r\na\r\n$-1\r\n", "*1\r\n$1\r\nb\r\n"]), 1000).unwrap();
        assert_eq!(&assembled[..], b"*3\r\n$1\r\na\r\n$1\r\nb\r\n$-1\r\n");
        assert_eq!(&assemble(&merge(Split::Sum), frames(&[":2\r\n", ":1\r\n"]), 1000).unwrap()[..], b":3\r\n");
        assert_eq!(&assemble(&merge(Split::AllSucceed), frames(&["+OK\r\n", "-OOM x\r\n"]), 1000).unwrap()[..], b"-OOM x\r\n");
        let nodes = |together, replies: &[&'static str]| {
            let all = (0..replies.len()).map(|index| (index, Vec::new())).collect();
            let merge = [Merge::Parts { split: Split::Nodes(together), droppable: true, parts: all }];
            String::from_utf8(assemble(&merge, frames(replies), 1000).unwrap().to_vec()).unwrap()
        };
        assert_eq!(nodes(Together::Sum, &[":2\r\n", ":1\r\n"]), ":3\r\n");
        assert_eq!(nodes(Together::AllSucceed, &["$1\r\na\r\n", "$1\r\na\r\n"]), "$1\r\na\r\n");
        assert_eq!(nodes(Together::OneSucceeds, &["-NOTBUSY x\r\n", "+OK\r\n"]), "+OK\r\n");
        assert_eq!(nodes(Together::OneSucceeds, &["-NOTBUSY x\r\n", "-NOTBUSY y\r\n"]), "-NOTBUSY x\r\n");
        assert_eq!(nodes(Together::Joined, &["*1\r\n$1\r\na\r\n", "*1\r\n$1\r\na\r\n"]), "*2\r\n$1\r\na\r\n$1\r\na\r\n");
        assert_eq!(nodes(Together::Union, &["*1\r\n$1\r\na\r\n", "*1\r\n$1\r\na\r\n"]), "*1\r\n$1\r\na\r\n");
        assert_eq!(nodes(Together::Everywhere, &["*2\r\n:1\r\n:0\r\n", "*2\r\n:1\r\n:1\r\n"]), "*2\r\n:1\r\n:0\r\n");
        assert_eq!(nodes(Together::Counts, &["*2\r\n$1\r\na\r\n:1\r\n", "*2\r\n$1\r\na\r\n:2\r\n"]), "*2\r\n$1\r\na\r\n:3\r\n");
        assert_eq!(nodes(Together::Any, &["$-1\r\n", "$1\r\na\r\n"]), "$1\r\na\r\n");
        assert_eq!(nodes(Together::Any, &["$-1\r\n", "$-1\r\n"]), "$-1\r\n");
        let lost = Failure { code: Code::Unavailable, detail: "gone", delivery: Delivery::NotSent };
        let failed = assemble(&merge(Split::Sum), vec![Ok(Bytes::from_static(b":1\r\n")), Err(lost.clone())], 1000).unwrap_err();
        assert_eq!(failed.delivery, Delivery::Unknown, "a part of it was done");
        let several = [Merge::One(0), Merge::Ready(b"+A\r\n"), Merge::One(1)];
        let assembled = assemble(&several, vec![Err(lost), Ok(Bytes::from_static(b":1\r\n"))], 1000).unwrap();
        assert_eq!(&assembled[..], b"-DBXNOTSENT gone\r\n+A\r\n:1\r\n");
    }
}
