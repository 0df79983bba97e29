//! Scripts are sent by their hash, and by their text when the server does not have them: those of the recipes, and those that
//! clients have loaded. A server that does not have a script has done nothing, so the call may be sent again.

use std::sync::OnceLock;

use bytes::{BufMut, Bytes, BytesMut};
use sha1::{Digest, Sha1};

use crate::{
    operation::{self, Group, Id, param::Kind},
    resp,
    scripts::{self, DIGITS, Sha},
    worker::Database,
};

/// Turns a recipe's EVAL into an EVALSHA, which is shorter and costs the server no hashing. Other commands stay as they are.
pub(super) fn by_hash(database: &Database, id: Id, command: &mut BytesMut) {
    if id.operation().group != Group::Recipes || !operation::find("evalsha").is_some_and(|evalsha| database.backend.supports(evalsha)) {
        return;
    }
    if let (Some(sha), Some((words, rest))) = (recipe(id), parts(command)) {
        let mut short = BytesMut::with_capacity(words + DIGITS + 24);
        short.put_slice(&command[..words]);
        resp::write_bulk(&mut short, b"EVALSHA");
        resp::write_bulk(&mut short, sha);
        // The text of a script is longer than its hash, so there is room; what follows moves up.
        let length = short.len() + command.len() - rest;
        command[..short.len()].copy_from_slice(&short);
        command.copy_within(rest.., short.len());
        command.truncate(length);
    }
}

/// The command of a call that runs or loads a script, to be kept until it is answered.
pub(super) fn keep(id: Id, command: &[u8]) -> Option<Bytes> {
    let operation = id.operation();
    let keeps = match operation.group {
        Group::Recipes => true,
        Group::Scripting => matches!(operation.name, "evalsha" | "evalsha_ro" | "script_load"),
        _ => false,
    };
    keeps.then(|| Bytes::copy_from_slice(command))
}

/// The command again, with the script's text in place of its hash, if that is known.
pub(super) fn by_text(database: &Database, id: Id, command: &[u8]) -> Option<BytesMut> {
    let word: &[u8] = match id.operation().name {
        "evalsha" => b"EVAL",
        "evalsha_ro" => b"EVAL_RO",
        _ => return Some(BytesMut::from(command)),
    };
    let script = database.room.scripts.get(&scripts::sha(word_at(command, 1)?)?)?;
    let (words, rest) = parts(command)?;
    let mut long = BytesMut::with_capacity(command.len() + script.len() + 16);
    long.put_slice(&command[..words]);
    resp::write_bulk(&mut long, word);
    resp::write_bulk(&mut long, &script);
    long.put_slice(&command[rest..]);
    Some(long)
}

/// Keeps a script that the server has taken.
pub(super) fn learn(database: &Database, id: Id, command: &[u8], frame: &[u8]) {
    if id.operation().name != "script_load" {
        return;
    }
    let sha = operation::render::value(frame).ok().flatten().and_then(scripts::sha);
    if let (Some(sha), Some(script)) = (sha, word_at(command, 2)) {
        database.room.scripts.keep(sha, script);
    }
}

/// A word of a command.
fn word_at(command: &[u8], at: usize) -> Option<&[u8]> {
    resp::words(command).get(at).copied()
}

/// Where the words of a command begin, and where those behind the first two do.
fn parts(command: &[u8]) -> Option<(usize, usize)> {
    let words = memchr::memchr(b'\n', command)? + 1;
    let mut rest = &command[words..];
    resp::take_frame(&mut rest)?;
    resp::take_frame(&mut rest)?;
    Some((words, command.len() - rest.len()))
}

/// The hash of a recipe's script.
fn recipe(id: Id) -> Option<&'static Sha> {
    static HASHES: OnceLock<Vec<Option<Sha>>> = OnceLock::new();
    let hash = |id: Id| {
        let operation = id.operation();
        match operation.params.first()?.kind {
            Kind::Fixed(script) if operation.group == Group::Recipes => {
                let text: String = Sha1::digest(script).iter().map(|byte| format!("{byte:02x}")).collect();
                scripts::sha(text.as_bytes())
            }
            _ => None,
        }
    };
    HASHES.get_or_init(|| operation::ids().map(hash).collect())[id.index()].as_ref()
}
