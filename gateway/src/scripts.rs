//! Scripts that clients have loaded through the gateway, kept by their hash for when the server has lost them: after a restart, a
//! failover, `SCRIPT FLUSH`. It is looked into only then. What is not used makes room; any pod can do without it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use lru::LruCache;

/// The hexadecimal digits of a script's hash.
pub const DIGITS: usize = 40;

/// The hash of a script, in lower case.
pub type Sha = [u8; DIGITS];

/// The scripts of one database.
pub struct Scripts {
    kept: Mutex<Kept>,
    most: usize,
}

struct Kept {
    scripts: LruCache<Sha, Bytes>,
    bytes: usize,
}

impl Scripts {
    /// Keeps scripts of at most so many bytes.
    pub fn new(most: usize) -> Self {
        Self { kept: Mutex::new(Kept { scripts: LruCache::unbounded(), bytes: 0 }), most }
    }

    /// Keeps a script, in place of those that nobody has asked for the longest.
    pub fn keep(&self, sha: Sha, script: &[u8]) {
        if script.len() > self.most {
            return;
        }
        let mut kept = self.lock();
        let before = kept.scripts.put(sha, Bytes::copy_from_slice(script));
        kept.bytes = kept.bytes + script.len() - before.map_or(0, |script| script.len());
        while kept.bytes > self.most
            && let Some((_, dropped)) = kept.scripts.pop_lru()
        {
            kept.bytes -= dropped.len();
        }
    }

    /// The script of that hash.
    pub fn get(&self, sha: &Sha) -> Option<Bytes> {
        self.lock().scripts.get(sha).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // Nothing that runs under the lock can panic half-way through a change.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What servers say that do not have a script, and have done nothing: Redis, and Valkey since version 9. A script may answer an error
/// that begins so, but has no reason to answer such a line.
const UNKNOWN: [&[u8]; 2] = [b"-NOSCRIPT No matching script. Please use EVAL.\r\n", b"-NOSCRIPT No matching script.\r\n"];

/// Whether a reply says that the server does not have the script.
pub fn is_unknown(frame: &[u8]) -> bool {
    frame.first() == Some(&b'-') && UNKNOWN.contains(&frame)
}

/// Reads a hash, in whatever case it is written.
pub fn sha(text: &[u8]) -> Option<Sha> {
    let sha: Sha = text.to_ascii_lowercase().try_into().ok()?;
    sha.iter().all(u8::is_ascii_hexdigit).then_some(sha)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_asks_for_makes_room() {
        let scripts = Scripts::new(10);
        let sha = |digit: u8| [digit; DIGITS];
        for (digit, script) in [(b'a', &b"1234"[..]), (b'b', b"1234"), (b'a', b"4321"), (b'c', b"12345678901")] {
            scripts.keep(sha(digit), script);
        }
        assert_eq!(scripts.get(&sha(b'a')).as_deref(), Some(&b"4321"[..]));
        assert_eq!(scripts.get(&sha(b'c')), None, "too large");
        scripts.keep(sha(b'd'), b"123");
        assert_eq!((scripts.get(&sha(b'b')), scripts.get(&sha(b'a')).is_some()), (None, true));
        scripts.keep(sha(b'e'), b"1234567890");
        assert_eq!((scripts.get(&sha(b'a')), scripts.get(&sha(b'd')), scripts.get(&sha(b'e')).is_some()), (None, None, true));
    }

    #[test]
    fn hashes_are_read() {
        assert_eq!(sha(&[b'A'; DIGITS]), Some([b'a'; DIGITS]));
        assert_eq!((sha(&[b'g'; DIGITS]), sha(b"a")), (None, None));
    }
}
