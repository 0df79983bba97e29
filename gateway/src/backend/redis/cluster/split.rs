//! Which commands a call becomes, and what their replies are together. A call whose keys live in several slots is done in
//! parts only where its caller says so: the parts are not one step.

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use super::slot;
use crate::{
    backend::{Failure, TOO_LARGE},
    error::{Code, Delivery},
    operation::{Operation, Split},
    resp::{self, Item, Reader},
};

/// How the reply to a call is made.
pub(super) enum Merge {
    /// The gateway knows it.
    Ready(&'static [u8]),
    /// It is the reply to one command.
    One(usize),
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
        Split::Never | Split::Nodes => return None,
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
        Merge::Parts { split, droppable, parts } => {
            let frame = together(*split, parts, outcomes)?;
            Ok(if *droppable && frame.len() > most { Bytes::from_static(TOO_LARGE) } else { frame })
        }
    }
}

fn together(split: Split, parts: &[(usize, Vec<usize>)], outcomes: &[Result<Bytes, Failure>]) -> Result<Bytes, Failure> {
    let done: Vec<_> = parts.iter().map(|(index, _)| &outcomes[*index]).collect();
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
    let broken = || Failure { code: Code::BackendError, detail: "the database broke its protocol", delivery: Delivery::Unknown };
    match split {
        Split::Sum => {
            let numbers = frames.iter().map(|frame| match Reader::new(frame).read() {
                Ok(Item::Integer(text)) => std::str::from_utf8(text).ok()?.parse::<i64>().ok(),
                _ => None,
            });
            let sum: i64 = numbers.sum::<Option<i64>>().ok_or_else(broken)?;
            Ok(format!(":{sum}\r\n").into())
        }
        Split::Ordered => {
            let count = parts.iter().map(|(_, keys)| keys.len()).sum();
            let mut elements: Vec<&[u8]> = vec![b""; count];
            for (frame, (_, keys)) in frames.into_iter().zip(parts) {
                let mut reader = Reader::new(frame);
                if reader.read() != Ok(Item::Array(Some(keys.len()))) {
                    return Err(broken());
                }
                for key in keys {
                    let start = reader.position();
                    match reader.read() {
                        Ok(Item::Array(_)) | Err(_) => return Err(broken()),
                        Ok(_) => elements[*key] = &frame[start..reader.position()],
                    }
                }
            }
            let mut out = BytesMut::new();
            resp::write_array(&mut out, count);
            elements.iter().for_each(|element| out.extend_from_slice(element));
            Ok(out.freeze())
        }
        Split::AllSucceed | Split::Never | Split::Nodes => Ok(Bytes::from_static(b"+OK\r\n")),
    }
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
        let lost = Failure { code: Code::Unavailable, detail: "gone", delivery: Delivery::NotSent };
        let failed = assemble(&merge(Split::Sum), vec![Ok(Bytes::from_static(b":1\r\n")), Err(lost.clone())], 1000).unwrap_err();
        assert_eq!(failed.delivery, Delivery::Unknown, "a part of it was done");
        let several = [Merge::One(0), Merge::Ready(b"+A\r\n"), Merge::One(1)];
        let assembled = assemble(&several, vec![Err(lost), Ok(Bytes::from_static(b":1\r\n"))], 1000).unwrap();
        assert_eq!(&assembled[..], b"-DBXNOTSENT gone\r\n+A\r\n:1\r\n");
    }
}
