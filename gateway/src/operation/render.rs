//! From a reply in RESP2 to the JSON answer. A reply that is not UTF-8 is told or encoded, never altered; one that does
//! not have the shape of its operation is the backend's fault.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Operation;
use super::encode::{Encoding, Plan};
use super::shape::{ENTRY, Field, Shape};
use super::text;
use super::write::{is_number, write_string};
use crate::error::{self, Code, Error};
use crate::resp::{Item, Malformed, Reader};

/// How the caller wants answers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Format {
    /// How byte strings stand in JSON.
    pub encoding: Encoding,
    /// Integers beyond ±2^53 are strings.
    pub integers_as_strings: bool,
}

impl Operation {
    /// Appends the answer to `out`, a JSON object: `result`, and where they apply `cursor` and `"encoding":"base64"`. The last
    /// says that every byte string in it is in base64, and is absent where it has none. On an error `out` is as before.
    ///
    /// Errors: those of Redis; `not_utf8` if nothing was changed (else the answer is in base64); `backend_error`.
    pub fn render(&self, plan: &Plan, frame: &[u8], format: &Format, out: &mut Vec<u8>) -> Result<(), Error> {
        render(plan.shape, plan.columns, self.changes(), frame, format, out).map_err(|mut error| {
            // What a node of a cluster took with it when it went.
            if error.outcome_unknown && plan.idempotent {
                (error.outcome_unknown, error.retryable) = (false, true);
            }
            error
        })
    }
}

/// As [`Operation::render`] for a reply whose operation is not known: strings, integers, null, arrays. It never fails for what is
/// not UTF-8, as something may have been changed.
pub fn render_raw(frame: &[u8], format: &Format, out: &mut Vec<u8>) -> Result<(), Error> {
    render(Shape::Raw, 0, true, frame, format, out)
}

/// As [`Operation::render`] for entries of a stream, as XRANGE replies.
pub fn entries(frame: &[u8], format: &Format, out: &mut Vec<u8>) -> Result<(), Error> {
    render(Shape::List(&Shape::Record(ENTRY)), 0, false, frame, format, out)
}

/// The one byte string of a reply; a word or an integer is its literal, `None` is null.
///
/// Errors: those of Redis; `not_acceptable` for several values; `backend_error`.
pub fn value(frame: &[u8]) -> Result<Option<&[u8]>, Error> {
    let mut reader = Reader::new(frame);
    match reader.read() {
        Ok(Item::Bulk(value)) => Ok(value),
        Ok(Item::Simple(value) | Item::Integer(value)) => Ok(Some(value)),
        Ok(Item::Array(None)) => Ok(None),
        Ok(Item::Array(Some(_))) => Err(Error::new(Code::NotAcceptable, "The result is not one value, so it has no bytes of its own")),
        Ok(Item::Error(line)) => Err(error::from_redis(line)),
        Err(Malformed) => Err(unexpected()),
    }
}

fn render(shape: Shape, columns: u8, changes: bool, frame: &[u8], format: &Format, out: &mut Vec<u8>) -> Result<(), Error> {
    let start = out.len();
    let mut renderer = Renderer { reader: Reader::new(frame), format: *format, columns, encoded: false, out };
    let mut done = renderer.answer(shape);
    if matches!(done, Err(Fault::NotUtf8)) && changes {
        renderer.out.truncate(start);
        renderer.reader = Reader::new(frame);
        renderer.format.encoding = Encoding::Base64;
        done = renderer.answer(shape);
    }
    done.map_err(|fault| {
        out.truncate(start);
        match fault {
            Fault::NotUtf8 => Error::new(Code::NotUtf8, "The result holds bytes that are not UTF-8; ask for it in base64, or as octets"),
            Fault::Redis(error) => *error,
            Fault::Unexpected => unexpected(),
        }
    })
}

fn unexpected() -> Error {
    Error::new(Code::BackendError, "The database's reply does not have the shape that the operation has")
}

enum Fault {
    NotUtf8,
    Redis(Box<Error>),
    Unexpected,
}

impl From<Malformed> for Fault {
    fn from(_: Malformed) -> Self {
        Self::Unexpected
    }
}

/// Replies nest a few levels deep; more would be an attack on the stack.
const DEPTH: usize = 64;

struct Renderer<'a, 'o> {
    reader: Reader<'a>,
    format: Format,
    columns: u8,
    /// A byte string has been written in base64.
    encoded: bool,
    out: &'o mut Vec<u8>,
}

impl<'a> Renderer<'a, '_> {
    fn answer(&mut self, shape: Shape) -> Result<(), Fault> {
        self.put(b"{\"result\":");
        if let Shape::Page(elements) = shape {
            let (Item::Array(Some(2)), Item::Bulk(Some(cursor))) = (self.next()?, self.next()?) else { return Err(Fault::Unexpected) };
            self.shape(*elements, 0)?;
            self.put(b",\"cursor\":");
            self.word(cursor)?;
        } else {
            self.shape(shape, 0)?;
        }
        if self.encoded {
            self.put(b",\"encoding\":\"base64\"");
        }
        self.put(b"}");
        Ok(())
    }

    /// The next item; an error line ends the rendering.
    fn next(&mut self) -> Result<Item<'a>, Fault> {
        match self.reader.read()? {
            Item::Error(line) => Err(Fault::Redis(Box::new(error::from_redis(line)))),
            item => Ok(item),
        }
    }

    fn shape(&mut self, shape: Shape, depth: usize) -> Result<(), Fault> {
        match shape {
            Shape::Raw => return self.raw(depth),
            Shape::Nullable(of) => return self.shape(*of, depth),
            _ => {}
        }
        let item = self.next()?;
        match (shape, item) {
            (_, Item::Bulk(None) | Item::Array(None)) => self.put(b"null"),
            (Shape::Word, Item::Simple(word) | Item::Bulk(Some(word))) => self.word(word)?,
            (Shape::Integer, Item::Integer(integer)) => self.integer(integer),
            (Shape::Integer, Item::Bulk(Some(literal))) if is_integer(literal) => self.integer(literal),
            (Shape::Double, Item::Bulk(Some(double)) | Item::Simple(double) | Item::Integer(double)) => self.double(double)?,
            (Shape::Bytes, Item::Bulk(Some(bytes)) | Item::Simple(bytes)) => self.bytes(bytes)?,
            (Shape::Base64, Item::Bulk(Some(bytes))) => self.base64(bytes),
            (Shape::Json, Item::Bulk(Some(document))) => self.json(document)?,
            (Shape::Json, Item::Array(Some(length))) if depth < DEPTH => {
                self.sequence(b'[', b']', length, |this| this.shape(shape, depth + 1))?
            }
            (Shape::Text(of), Item::Bulk(Some(text)) | Item::Simple(text)) => text::write(utf8(text)?, of, self.out),
            (Shape::Lines(of), Item::Bulk(Some(text))) => {
                let lines: Vec<&str> = utf8(text)?.lines().filter(|line| !line.is_empty()).collect();
                let mut rest = lines.iter();
                self.sequence(b'[', b']', lines.len(), |this| {
                    text::write(rest.next().ok_or(Fault::Unexpected)?, of, this.out);
                    Ok(())
                })?;
            }
            (Shape::List(of), Item::Array(Some(length))) => self.sequence(b'[', b']', length, |this| this.shape(*of, depth + 1))?,
            (Shape::Map(of), Item::Array(Some(length))) => {
                self.sequence(b'{', b'}', even(length)?, |this| {
                    this.name()?;
                    this.shape(*of, depth + 1)
                })?;
            }
            (Shape::Pairs(of), Item::Array(Some(length))) => {
                self.sequence(b'[', b']', even(length)?, |this| {
                    this.put(b"[");
                    this.shape(Shape::Bytes, depth + 1)?;
                    this.put(b",");
                    this.shape(*of, depth + 1)?;
                    this.put(b"]");
                    Ok(())
                })?;
            }
            (Shape::Entries(of), Item::Array(Some(length))) => {
                self.sequence(b'{', b'}', length, |this| {
                    let Item::Array(Some(2)) = this.next()? else { return Err(Fault::Unexpected) };
                    this.name()?;
                    this.shape(*of, depth + 1)
                })?;
            }
            (Shape::Fields, Item::Array(Some(length))) => self.fields(even(length)?)?,
            (Shape::Record(fields), Item::Array(Some(length))) => self.record(fields, length, depth)?,
            (Shape::Rows(fields), Item::Array(Some(length))) => {
                if !length.is_multiple_of(fields.len()) {
                    return Err(Fault::Unexpected);
                }
                self.sequence(b'[', b']', length / fields.len(), |this| this.record(fields, fields.len(), depth + 1))?;
            }
            (Shape::Object(fields), Item::Array(Some(length))) => {
                self.sequence(b'{', b'}', even(length)?, |this| {
                    let Item::Bulk(Some(word)) = this.next()? else { return Err(Fault::Unexpected) };
                    this.word(word)?;
                    this.put(b":");
                    let field = fields.iter().find(|field| field.name.as_bytes() == word);
                    this.shape(field.map_or(Shape::Raw, |field| field.shape), depth + 1)
                })?;
            }
            _ => return Err(Fault::Unexpected),
        }
        Ok(())
    }

    fn sequence(&mut self, open: u8, close: u8, length: usize, mut one: impl FnMut(&mut Self) -> Result<(), Fault>) -> Result<(), Fault> {
        self.out.push(open);
        for index in 0..length {
            if index > 0 {
                self.out.push(b',');
            }
            one(self)?;
        }
        self.out.push(close);
        Ok(())
    }

    /// Writes `length` items as the fields that are there.
    fn record(&mut self, fields: &[Field], length: usize, depth: usize) -> Result<(), Fault> {
        let columns = self.columns;
        let (fields, rest) = match fields {
            [fields @ .., rest] if rest.rest => (fields, Some(rest)),
            fields => (fields, None),
        };
        let (length, mut rest) = match rest {
            Some(rest) => (fields.len() + 1, Some((rest, length.checked_sub(fields.len()).ok_or(Fault::Unexpected)?))),
            None => (length, None),
        };
        let mut there = fields.iter().filter(|field| field.column.is_none_or(|column| columns & (1 << column) != 0));
        self.sequence(b'{', b'}', length, |this| {
            let Some(field) = there.next() else {
                let (field, more) = rest.take().ok_or(Fault::Unexpected)?;
                write_string(this.out, field.name);
                this.put(b":");
                return this.sequence(b'[', b']', more, |this| this.shape(field.shape, depth + 1));
            };
            write_string(this.out, field.name);
            this.put(b":");
            this.shape(field.shape, depth + 1)
        })
    }

    /// Writes names and values of which a name may repeat. Names keep the order in which they come first.
    fn fields(&mut self, length: usize) -> Result<(), Fault> {
        let mut order: Vec<(&[u8], Vec<&[u8]>)> = Vec::new();
        let mut known = std::collections::HashMap::new();
        for _ in 0..length {
            let (Item::Bulk(Some(name)), Item::Bulk(Some(value))) = (self.next()?, self.next()?) else { return Err(Fault::Unexpected) };
            let at = *known.entry(name).or_insert(order.len());
            match order.get_mut(at) {
                Some((_, values)) => values.push(value),
                None => order.push((name, vec![value])),
            }
        }
        let mut order = order.into_iter();
        self.sequence(b'{', b'}', order.len(), |this| {
            let (name, values) = order.next().ok_or(Fault::Unexpected)?;
            this.bytes(name)?;
            this.put(b":");
            match values[..] {
                [value] => this.bytes(value),
                _ => {
                    let mut values = values.iter();
                    this.sequence(b'[', b']', values.len(), |this| this.bytes(values.next().ok_or(Fault::Unexpected)?))
                }
            }
        })
    }

    fn raw(&mut self, depth: usize) -> Result<(), Fault> {
        if depth > DEPTH {
            return Err(Fault::Unexpected);
        }
        match self.reader.read()? {
            Item::Error(line) if depth == 0 => return Err(Fault::Redis(Box::new(error::from_redis(line)))),
            // One command of a script or transaction may fail beside others.
            Item::Error(line) => {
                self.put(b"{\"error\":");
                write_string(self.out, &String::from_utf8_lossy(line));
                self.put(b"}");
            }
            Item::Simple(word) if depth == 0 => self.word(word)?,
            Item::Simple(bytes) | Item::Bulk(Some(bytes)) => self.bytes(bytes)?,
            Item::Integer(integer) => self.integer(integer),
            Item::Bulk(None) | Item::Array(None) => self.put(b"null"),
            Item::Array(Some(length)) => self.sequence(b'[', b']', length, |this| this.raw(depth + 1))?,
        }
        Ok(())
    }

    fn name(&mut self) -> Result<(), Fault> {
        match self.next()? {
            Item::Bulk(Some(name)) => self.bytes(name)?,
            // The buckets of a histogram, the slots of a cluster.
            Item::Integer(number) => self.word(number)?,
            _ => return Err(Fault::Unexpected),
        }
        self.put(b":");
        Ok(())
    }

    fn json(&mut self, document: &[u8]) -> Result<(), Fault> {
        serde_json::from_slice::<&serde_json::value::RawValue>(document).map_err(|_| Fault::Unexpected)?;
        self.put(document);
        Ok(())
    }

    fn word(&mut self, word: &[u8]) -> Result<(), Fault> {
        write_string(self.out, utf8(word)?);
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        match self.format.encoding {
            Encoding::Utf8 => write_string(self.out, std::str::from_utf8(bytes).map_err(|_| Fault::NotUtf8)?),
            Encoding::Base64 => self.base64(bytes),
        }
        Ok(())
    }

    fn base64(&mut self, bytes: &[u8]) {
        self.encoded = true;
        self.out.push(b'"');
        let start = self.out.len();
        self.out.resize(start + bytes.len().div_ceil(3) * 4, 0);
        STANDARD.encode_slice(bytes, &mut self.out[start..]).expect("the room is exactly what base64 takes");
        self.out.push(b'"');
    }

    fn integer(&mut self, literal: &[u8]) {
        const EXACT: u64 = 1 << 53;
        // Sixteen characters hold no number beyond 2^53 but those that are parsed.
        let quoted = self.format.integers_as_strings
            && literal.len() >= 16
            && std::str::from_utf8(literal).is_ok_and(|text| text.parse::<i64>().map_or(true, |integer| integer.unsigned_abs() > EXACT));
        if quoted {
            self.put(b"\"");
        }
        self.put(literal);
        if quoted {
            self.put(b"\"");
        }
    }

    fn double(&mut self, literal: &[u8]) -> Result<(), Fault> {
        if is_number(literal) {
            self.put(literal);
            return Ok(());
        }
        self.word(literal)
    }

    fn put(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }
}

fn utf8(text: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(text).map_err(|_| Fault::Unexpected)
}

fn is_integer(literal: &[u8]) -> bool {
    is_number(literal) && !literal.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E'))
}

fn even(length: usize) -> Result<usize, Fault> {
    if length.is_multiple_of(2) { Ok(length / 2) } else { Err(Fault::Unexpected) }
}

#[cfg(test)]
mod tests;
