//! Changes that happen as one, and only if what was expected of some keys still holds: watch, read, compare, commit. They have
//! a connection of their own, and need no script.

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::{call, version::Version};
use crate::{
    backend::{Committed, Failure},
    error::{Code, Error},
    operation, resp,
    worker::Database,
};

/// A key, how it is read, and what is expected of it.
pub(super) struct Watch {
    pub(super) key: Vec<u8>,
    pub(super) read: BytesMut,
    pub(super) expected: Expected,
}

/// What a value has to be.
#[derive(Debug)]
pub(super) enum Expected {
    Absent,
    Present,
    Equal(Vec<u8>),
    /// One of these versions.
    Version(Vec<Version>),
    /// None of these versions.
    Other(Vec<Version>),
}

impl Expected {
    fn holds(&self, value: Option<&[u8]>) -> bool {
        match (self, value) {
            (Self::Absent, value) => value.is_none(),
            (Self::Other(_), None) => true,
            (_, None) => false,
            (Self::Present, _) => true,
            (Self::Equal(expected), Some(value)) => expected == value,
            (Self::Version(versions), Some(value)) => versions.contains(&Version::of(value)),
            (Self::Other(versions), Some(value)) => !versions.contains(&Version::of(value)),
        }
    }
}

/// Commands, encoded one behind the other.
pub(super) struct Commands {
    pub(super) bytes: BytesMut,
    pub(super) count: usize,
    /// None of them changes anything, so a result that is too large may be dropped.
    pub(super) droppable: bool,
    /// All of them may be sent twice, together with what is expected.
    pub(super) idempotent: bool,
}

/// What became of them.
pub(super) enum Outcome {
    /// The frames of all replies.
    Done(Bytes),
    /// The value of this watch is not what is expected.
    Unexpected(usize),
    /// A watched key was changed after it was read.
    Changed,
    /// The database refused one of them; its place, if it is one of them, and why.
    Refused(Option<usize>, Error),
}

/// Carries out commands. All outcomes but `Done` mean that nothing was carried out.
pub(super) async fn run(database: &Database, watches: &[Watch], commands: &Commands, deadline: Instant) -> Result<Outcome, Error> {
    let failed = |failure: Failure| failure.error(commands.idempotent);
    let mut own = database.backend.own(&commands.bytes, deadline).await.map_err(failed)?;
    if !watches.is_empty() {
        let keys: Vec<&[u8]> = watches.iter().map(|watch| &*watch.key).collect();
        let reads: Vec<u8> = watches.iter().flat_map(|watch| &watch.read).copied().collect();
        let frames = own.watch(&keys, &reads, watches.len(), deadline).await.map_err(failed)?;
        match compare(watches, &frames) {
            Ok(None) => {}
            unexpected => {
                if own.forget(deadline).await.is_ok() {
                    own.give_back();
                }
                return unexpected.map(|at| Outcome::Unexpected(at.unwrap_or_default()));
            }
        }
    }
    let committed = own.commit(&commands.bytes, commands.count, commands.droppable, deadline).await.map_err(failed)?;
    match committed {
        Committed::Done(frames) => {
            own.give_back();
            Ok(Outcome::Done(frames))
        }
        Committed::Changed => {
            own.give_back();
            Ok(Outcome::Changed)
        }
        Committed::Refused(at, line) => {
            let line = line.strip_prefix(b"-").and_then(|line| line.strip_suffix(b"\r\n")).unwrap_or(&line);
            Ok(Outcome::Refused(at, crate::error::from_redis(line)))
        }
    }
}

/// The last word of an encoded command.
pub(super) fn last_word(command: &[u8]) -> Vec<u8> {
    resp::words(command).last().map(|word| word.to_vec()).unwrap_or_default()
}

/// The first watch whose value is not what is expected.
fn compare(watches: &[Watch], frames: &[u8]) -> Result<Option<usize>, Error> {
    let mut rest = frames;
    let mut unexpected = None;
    for (index, watch) in watches.iter().enumerate() {
        let holds = match operation::render::value(call::next_reply(&mut rest)?) {
            Ok(value) => watch.expected.holds(value),
            // A key of another type is there, and is no value that one could expect.
            Err(error) if error.code == Code::WrongType => false,
            Err(error) if error.code == Code::ResultTooLarge && matches!(watch.expected, Expected::Absent) => false,
            Err(error) => return Err(error.param(format!("watch[{index}]"))),
        };
        if !holds {
            unexpected = unexpected.or(Some(index));
        }
    }
    Ok(unexpected)
}
