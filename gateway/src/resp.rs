//! RESP2, Redis's wire format: writing commands, finding where a reply ends, reading its items. Nothing is copied.
//! Source: the Redis serialization protocol specification.

use bytes::{Buf, BufMut, BytesMut};
use smallvec::SmallVec;

/// The bytes are not RESP2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// One item of a reply. An array's elements are the items that follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A status such as `OK`.
    Simple(&'a [u8]),
    /// An error line, without its leading `-`.
    Error(&'a [u8]),
    /// A 64-bit integer, as its literal.
    Integer(&'a [u8]),
    /// A byte string, or null.
    Bulk(Option<&'a [u8]>),
    /// The number of elements that follow, or null.
    Array(Option<usize>),
}

/// Starts a command of `words` words, its name included.
pub fn write_array(out: &mut BytesMut, words: usize) {
    out.put_u8(b'*');
    write_integer(out, words);
}

/// Words from this size on get room for what follows as well: the buffer would double for a few bytes more.
const LONG: usize = 64 << 10;

/// Writes one word of a command.
pub fn write_bulk(out: &mut BytesMut, word: &[u8]) {
    if word.len() >= LONG {
        out.reserve(word.len() + 1024);
    }
    out.put_u8(b'$');
    write_integer(out, word.len());
    out.put_slice(word);
    out.put_slice(b"\r\n");
}

/// Writes a whole command.
pub fn write_command(out: &mut BytesMut, words: &[&[u8]]) {
    write_array(out, words.len());
    for word in words {
        write_bulk(out, word);
    }
}

fn write_integer(out: &mut BytesMut, integer: usize) {
    out.put_slice(itoa::Buffer::new().format(integer).as_bytes());
    out.put_slice(b"\r\n");
}

/// The words of a command.
pub fn words(command: &[u8]) -> SmallVec<[&[u8]; 8]> {
    let mut reader = Reader::new(command);
    let mut words = SmallVec::new();
    while let Ok(item) = reader.read() {
        if let Item::Bulk(Some(word)) = item {
            words.push(word);
        }
    }
    words
}

/// Reads items one after the other.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next item; bytes that end early are malformed.
    pub fn read(&mut self) -> Result<Item<'a>, Malformed> {
        match next(self.bytes, self.at)? {
            Some((item, end)) => {
                self.at = end;
                Ok(item)
            }
            None => Err(Malformed),
        }
    }

    /// How many bytes have been read.
    pub fn position(&self) -> usize {
        self.at
    }
}

/// Finds where a reply ends while its bytes are still arriving; never looks at a byte twice, but for an unfinished line.
#[derive(Clone, Debug)]
pub struct Scanner {
    at: usize,
    pending: usize,
    skip: usize,
}

impl Default for Scanner {
    fn default() -> Self {
        Self { at: 0, pending: 1, skip: 0 }
    }
}

impl Scanner {
    /// The length of the first reply in `bytes` once it is all there. After that, use a new scanner.
    pub fn scan(&mut self, bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        while self.pending > 0 {
            let Some((item, end)) = next(bytes, self.at)? else { return Ok(None) };
            self.at = end;
            self.pending -= 1;
            if let Item::Array(Some(elements)) = item {
                self.pending = self.pending.checked_add(elements).ok_or(Malformed)?;
            }
        }
        Ok(Some(self.at))
    }

    /// Throws the reply away as it arrives; true once it has ended. The scanner has not found its end before.
    pub fn discard(&mut self, bytes: &mut BytesMut) -> Result<bool, Malformed> {
        loop {
            let skipped = self.skip.min(bytes.len());
            bytes.advance(skipped);
            self.skip -= skipped;
            if self.skip > 0 {
                return Ok(false);
            }
            if let Some(end) = self.scan(bytes)? {
                bytes.advance(end);
                return Ok(true);
            }
            let least = self.least(bytes);
            bytes.advance(self.at);
            let rest = least - self.at;
            self.at = 0;
            if rest == 0 {
                return Ok(false);
            }
            // A byte string whose length is known: it is over once that many bytes and its terminator are gone.
            self.skip = rest + 2;
            self.pending -= 1;
        }
    }

    /// The number of bytes that the reply has at least, so that one too large is known before it has arrived.
    pub fn least(&self, bytes: &[u8]) -> usize {
        match bytes.get(self.at) {
            Some(b'$') => line(bytes, self.at + 1).and_then(|(text, end)| Some(end + length(text).ok()??)).unwrap_or(self.at),
            _ => self.at,
        }
    }
}

/// Takes the first reply off `frames`; `None` when it is not all there, or not RESP2.
pub fn take_frame<'a>(frames: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = Scanner::default().scan(frames).ok()??;
    let (frame, rest) = frames.split_at(end);
    *frames = rest;
    Some(frame)
}

/// The item at `at` and where it ends, or `None` when it has not all arrived.
fn next(bytes: &[u8], at: usize) -> Result<Option<(Item<'_>, usize)>, Malformed> {
    let Some(kind) = bytes.get(at) else { return Ok(None) };
    if !matches!(kind, b'+' | b'-' | b':' | b'$' | b'*') {
        return Err(Malformed);
    }
    let Some((text, end)) = line(bytes, at + 1) else { return Ok(None) };
    let item = match kind {
        b'+' => Item::Simple(text),
        b'-' => Item::Error(text),
        b':' if is_integer(text) => Item::Integer(text),
        b'$' => match length(text)? {
            None => Item::Bulk(None),
            Some(length) => {
                let stop = end.checked_add(length).ok_or(Malformed)?;
                let Some(terminator) = bytes.get(stop..stop.saturating_add(2)) else { return Ok(None) };
                if terminator != b"\r\n" {
                    return Err(Malformed);
                }
                return Ok(Some((Item::Bulk(Some(&bytes[end..stop])), stop + 2)));
            }
        },
        b'*' => Item::Array(length(text)?),
        _ => return Err(Malformed),
    };
    Ok(Some((item, end)))
}

/// The line that starts at `at`, without its end, and where the next one starts.
fn line(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let rest = bytes.get(at..)?;
    let end = memchr::memchr(b'\r', rest)?;
    // The terminator's second byte may not have arrived; a carriage return cannot stand inside a line.
    (rest.len() > end + 1).then(|| (&rest[..end], at + end + 2))
}

fn length(text: &[u8]) -> Result<Option<usize>, Malformed> {
    if text == b"-1" {
        return Ok(None);
    }
    if text.is_empty() || text.len() > 18 || !text.iter().all(u8::is_ascii_digit) {
        return Err(Malformed);
    }
    Ok(Some(text.iter().fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'))))
}

/// An integer as servers write it, which is also as JSON does: without zeros before it.
fn is_integer(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    match digits {
        [b'0', rest @ ..] => rest.is_empty() && digits.len() == text.len(),
        _ => !digits.is_empty() && digits.len() < 20 && digits.iter().all(u8::is_ascii_digit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_written() {
        let mut out = BytesMut::new();
        write_command(&mut out, &[b"SET", b"a", b"\xff"]);
        assert_eq!(&out[..], b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n\xff\r\n");
    }

    #[test]
    fn a_reply_is_found_whatever_the_pieces_it_arrives_in() {
        let reply = b"*3\r\n$3\r\na\r\n\r\n*2\r\n:-12\r\n$-1\r\n+OK\r\n";
        let mut scanner = Scanner::default();
        for end in 0..reply.len() {
            assert_eq!(scanner.scan(&reply[..end]), Ok(None), "{end}");
        }
        let mut stream = reply.to_vec();
        stream.extend_from_slice(b":1\r\n");
        assert_eq!(scanner.scan(&stream), Ok(Some(reply.len())));
    }

    #[test]
    fn a_large_reply_is_known_by_its_first_line() {
        let mut scanner = Scanner::default();
        assert_eq!(scanner.scan(b"$1000000\r\nabc"), Ok(None));
        assert_eq!(scanner.least(b"$1000000\r\nabc"), 1_000_010);
    }

    #[test]
    fn a_reply_is_thrown_away_whatever_the_pieces_it_arrives_in() {
        let reply = b"*3\r\n$3\r\na\r\n\r\n*2\r\n:-12\r\n$-1\r\n+OK\r\n";
        for piece in 1..reply.len() {
            let (mut scanner, mut bytes, mut done) = (Scanner::default(), BytesMut::new(), false);
            for part in reply.chunks(piece) {
                assert!(!done);
                bytes.extend_from_slice(part);
                done = scanner.discard(&mut bytes).unwrap();
            }
            assert!(done && bytes.is_empty(), "{piece}");
        }
    }

    #[test]
    fn nonsense_is_malformed() {
        for nonsense in
            [&b"hello\r\n"[..], b"$x\r\n", b"$-2\r\n", b":1x\r\n", b":01\r\n", b":-0\r\n", b"$1\r\nab\r\n", b"*99999999999999999999\r\n"]
        {
            assert_eq!(Scanner::default().scan(nonsense), Err(Malformed), "{nonsense:?}");
        }
    }

    #[test]
    fn items_are_read() {
        let mut reader = Reader::new(b"*2\r\n$1\r\na\r\n:5\r\n");
        assert_eq!(reader.read(), Ok(Item::Array(Some(2))));
        assert_eq!(reader.read(), Ok(Item::Bulk(Some(b"a"))));
        assert_eq!(reader.read(), Ok(Item::Integer(b"5")));
        assert_eq!(reader.read(), Err(Malformed));
    }
}
