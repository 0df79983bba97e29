//! Entries of a stream as they are added, from an id on: whoever comes back with the last id that it has seen goes on exactly
//! there. What it waits with is a connection of its own.

use std::{sync::Arc, time::Duration};

use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::{Bytes, BytesMut};
use smallvec::smallvec;
use tokio::time::Instant;

use super::Scope;
use crate::{
    backend::{self, Failure},
    error::{self, Code, Error},
    operation::{
        self, Class,
        encode::Encoding,
        param::Role,
        render::{self, Format},
    },
    resp::{self, Item, Reader},
    worker::Database,
};

/// How long the server is asked to wait at a time; then it is asked again, which shows that both still live.
const WAIT: Duration = Duration::from_secs(20);
/// How many entries are read at once.
const AT_ONCE: &[u8] = b"100";

/// A stream that is read from an id on.
pub(super) struct Follower {
    database: Arc<Database>,
    key: Bytes,
    last: Bytes,
    failures: u32,
}

/// What comes next of a stream.
pub(super) enum Next {
    /// Entries, as XRANGE answers them.
    Entries(Bytes),
    /// The database cannot be reached. It goes on from the same entry when it can.
    Interrupted,
}

/// Sends one command on the connection that calls share.
pub(super) async fn command(database: &Database, words: &[&[u8]]) -> Result<Bytes, Error> {
    let mut command = BytesMut::new();
    resp::write_command(&mut command, words);
    let failed = |failure: Failure| failure.error(true);
    let pending = database.backend.submit(&command, smallvec![true]).map_err(failed)?;
    let frame = backend::replies(pending, Instant::now() + database.room.call_timeout).await.map_err(failed)?;
    check(frame)
}

/// An error line as the error that it is.
pub(super) fn check(frame: Bytes) -> Result<Bytes, Error> {
    match frame.strip_prefix(b"-") {
        Some(line) => Err(error::from_redis(line.strip_suffix(b"\r\n").unwrap_or(line))),
        None => Ok(frame),
    }
}

/// Whether a stream that cannot be read now may be later.
pub(super) fn is_passing(error: &Error) -> bool {
    matches!(error.code, Code::Unavailable | Code::Timeout)
}

/// How long to wait before each attempt to read a stream again, without an end.
pub(super) fn pauses() -> impl Iterator<Item = Duration> + Send {
    let delays = ExponentialBuilder::default().with_min_delay(Duration::from_millis(50)).with_max_delay(Duration::from_secs(1));
    delays.with_jitter().without_max_times().build()
}

/// Whether this is the id of an entry: `1526919030474-55`, or its first half.
pub(super) fn is_id(id: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.len() <= 20 && text.bytes().all(|byte| byte.is_ascii_digit());
    let (first, second) = id.split_once('-').map_or((id, None), |(first, second)| (first, Some(second)));
    number(first) && second.is_none_or(number)
}

impl Follower {
    /// Reads behind the entry `from`, or behind the last one that is there now.
    pub(super) async fn begin(database: Arc<Database>, key: Bytes, from: Option<&str>) -> Result<Self, Error> {
        let last = match from {
            Some(from) => {
                // What is no stream is found out before anything is promised.
                command(&database, &[b"XLEN", &key]).await?;
                Bytes::copy_from_slice(from.as_bytes())
            }
            // Not `$`, which is another place after every interruption.
            None => {
                let frame = command(&database, &[b"XREVRANGE", &key, b"+", b"-", b"COUNT", b"1"]).await?;
                ids(&frame).last().map_or_else(|| Bytes::from_static(b"0"), |id| frame.slice_ref(id))
            }
        };
        Ok(Self { database, key, last, failures: 0 })
    }

    /// Waits for what comes next. Errors are those after which nothing does.
    pub(super) async fn next(&mut self) -> Result<Next, Error> {
        loop {
            if let Some(pause) = self.pause() {
                tokio::time::sleep(pause).await;
            }
            match self.read().await {
                Ok(entries) => {
                    self.failures = 0;
                    let Some(entries) = entries else { continue };
                    if let Some(last) = ids(&entries).last() {
                        self.last = Bytes::copy_from_slice(last);
                    }
                    return Ok(Next::Entries(entries));
                }
                Err(error) if is_passing(&error) => {
                    self.failures += 1;
                    if self.failures == 1 {
                        return Ok(Next::Interrupted);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn pause(&self) -> Option<Duration> {
        let failures = usize::try_from(self.failures).ok()?.checked_sub(1)?;
        pauses().nth(failures.min(8))
    }

    async fn read(&self) -> Result<Option<Bytes>, Error> {
        let mut command = BytesMut::new();
        let milliseconds = WAIT.as_millis().to_string();
        let words: [&[u8]; 8] = [b"XREAD", b"COUNT", AT_ONCE, b"BLOCK", milliseconds.as_bytes(), b"STREAMS", &self.key, &self.last];
        resp::write_command(&mut command, &words);
        let read = operation::find("xread").ok_or_else(super::unknown_operation)?;
        let waited = self.database.backend.wait(read, command.freeze(), Instant::now() + 2 * WAIT).await;
        let taken = waited.map_err(|failure| failure.error(true))?;
        let frame = check(taken.frame.clone())?;
        taken.delivered();
        Ok(of_one(&frame))
    }
}

/// The key of a stream as the database knows it, if the caller may read it.
pub(super) fn may_follow(scope: Scope<'_>, key: Bytes) -> Result<Bytes, Error> {
    let read = operation::find("xread").ok_or_else(super::unknown_operation)?;
    scope.begun("follow", Class::Read, std::slice::from_ref(&key), scope.rights().key(read, Role::READ, key.clone()))
}

/// The entries in the reply of XREAD or XREADGROUP for one stream: a frame as XRANGE's. `None` if it has waited in vain.
pub(super) fn of_one(frame: &Bytes) -> Option<Bytes> {
    let mut reader = Reader::new(frame);
    for _ in 0..2 {
        let Item::Array(Some(_)) = reader.read().ok()? else { return None };
    }
    reader.read().ok()?;
    Some(frame.slice(reader.position()..))
}

/// The ids in a reply as XRANGE's, in order.
pub(super) fn ids(entries: &[u8]) -> impl Iterator<Item = &[u8]> {
    each(entries).filter_map(id)
}

/// The id of an entry.
pub(super) fn id(entry: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(entry);
    reader.read().ok()?;
    match reader.read().ok()? {
        Item::Bulk(id) => id,
        _ => None,
    }
}

/// The entries in a reply as XRANGE's, each a frame.
pub(super) fn each(entries: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut reader = Reader::new(entries);
    let mut rest = match reader.read() {
        Ok(Item::Array(Some(_))) => &entries[reader.position()..],
        _ => &[],
    };
    std::iter::from_fn(move || resp::take_frame(&mut rest))
}

/// Appends entries as JSON, an array of `{id, fields}`; whether they had to be in base64, since they are not text.
pub(super) fn write(entries: &[u8], encoding: Encoding, out: &mut Vec<u8>) -> Result<bool, Error> {
    let mut answer = Vec::with_capacity(entries.len() * 2);
    let format = |encoding| Format { encoding, integers_as_strings: false };
    let in_base64 = match render::entries(entries, &format(encoding), &mut answer) {
        Err(error) if error.code == Code::NotUtf8 => {
            render::entries(entries, &format(Encoding::Base64), &mut answer)?;
            true
        }
        done => done.map(|()| encoding == Encoding::Base64)?,
    };
    // What surrounds them is an answer's.
    let end = memchr::memmem::rfind(&answer, b"]").map_or(answer.len(), |at| at + 1);
    out.extend_from_slice(&answer[b"{\"result\":".len()..end]);
    Ok(in_base64)
}

/// One entry as a JSON object; one that is not text is in base64 and says so.
pub(super) fn object(entry: &[u8], encoding: Encoding) -> Result<Vec<u8>, Error> {
    let mut out = Vec::with_capacity(entry.len() * 2);
    let in_base64 = write(&[b"*1\r\n", entry].concat(), encoding, &mut out)?;
    // What surrounds it is a list's.
    out.pop();
    out.remove(0);
    if in_base64 {
        out.pop();
        out.extend_from_slice(b",\"encoding\":\"base64\"}");
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRIES: &[u8] = b"*2\r\n*2\r\n$3\r\n1-0\r\n*2\r\n$1\r\nf\r\n$1\r\n]\r\n*2\r\n$3\r\n2-0\r\n*2\r\n$1\r\nf\r\n$1\r\n\xff\r\n";

    #[test]
    fn entries_are_found() {
        let found: Vec<&[u8]> = ids(ENTRIES).collect();
        assert_eq!(found, [b"1-0", b"2-0"]);
        let frame = Bytes::from([b"*1\r\n*2\r\n$1\r\ns\r\n", ENTRIES].concat());
        assert_eq!(&of_one(&frame).unwrap()[..], ENTRIES);
        assert_eq!(of_one(&Bytes::from_static(b"*-1\r\n")), None);
    }

    #[test]
    fn entries_are_written_alone() {
        let mut out = Vec::new();
        let first = each(ENTRIES).next().unwrap();
        assert!(!write(&[b"*1\r\n", first].concat(), Encoding::Utf8, &mut out).unwrap());
        assert_eq!(out, br#"[{"id":"1-0","fields":{"f":"]"}}]"#);
        out.clear();
        assert!(write(ENTRIES, Encoding::Utf8, &mut out).unwrap());
        assert_eq!(out, br#"[{"id":"1-0","fields":{"Zg==":"XQ=="}},{"id":"2-0","fields":{"Zg==":"/w=="}}]"#);
    }

    #[test]
    fn ids_are_told_from_nonsense() {
        for id in ["0", "0-0", "1526919030474-55"] {
            assert!(is_id(id), "{id}");
        }
        for id in ["", "-", "1-", "-1", "$", ">", "1-2-3", "a", "1526919030474-5566666666666666666666"] {
            assert!(!is_id(id), "{id}");
        }
    }
}
