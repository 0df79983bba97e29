//! From a given value to words: what each kind of argument accepts. A value is never rounded, cut or guessed.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::value::RawValue;

use super::arguments::{Arguments, Given, elements, members, text};
use super::encode::{Encoder, Encoding, Place, locate};
use super::param::{Count, Kind, Layout, Param, Token};
use crate::error::{Code, Error};

impl Encoder<'_, '_> {
    /// Writes the words of one value.
    pub(super) fn value(&mut self, kind: Kind, given: &Given<'_>) -> Result<(), Error> {
        match kind {
            Kind::Key(role) => {
                self.mark(Place::Key(role));
                let key = self.bytes(given)?;
                if key.len() > self.rules.max_key_bytes {
                    let detail = format!("The key has more than {} bytes", self.rules.max_key_bytes);
                    return Err(Error::new(Code::KeyTooLarge, detail));
                }
                self.word(&key);
            }
            Kind::Bytes | Kind::Channel | Kind::Glob | Kind::Elsewhere => {
                match kind {
                    Kind::Channel => self.mark(Place::Channel),
                    Kind::Glob => self.mark(Place::Glob),
                    Kind::Elsewhere => self.mark(Place::Elsewhere),
                    _ => {}
                }
                let value = self.bytes(given)?;
                self.limited(&value)?;
            }
            Kind::Base64 => {
                let value = match given {
                    Given::Bytes(bytes) => Cow::Borrowed(bytes.as_ref()),
                    Given::Text(text) => decode(text)?,
                    Given::Json(raw) => decode(&text(raw)?.ok_or_else(|| invalid("It has to be a string in base64"))?)?,
                    Given::Element(_) => return Err(invalid("It has to be a string in base64")),
                };
                self.limited(&value)?;
            }
            Kind::Json => self.limited(json(given, "It has to be JSON")?.get().as_bytes())?,
            Kind::Text => {
                let word = literal(given, "It has to be a string")?;
                self.limited(word.as_bytes())?;
            }
            Kind::Integer | Kind::OtherDatabase => {
                if matches!(kind, Kind::OtherDatabase) {
                    self.mark(Place::Elsewhere);
                }
                let word = literal(given, NO_INTEGER)?;
                if !is_integer(&word) {
                    return Err(invalid(NO_INTEGER));
                }
                self.word(word.as_bytes());
            }
            Kind::Cursor => {
                const EXPECTED: &str = "It has to be \"0\" or a cursor of an earlier answer";
                let word = literal(given, EXPECTED)?;
                if word.parse::<u64>().is_err() || word.starts_with('+') {
                    return Err(invalid(EXPECTED));
                }
                self.word(word.as_bytes());
            }
            Kind::Double => {
                const EXPECTED: &str = "It has to be a number, \"inf\" or \"-inf\"";
                let word = literal(given, EXPECTED)?;
                if word.parse::<f64>().map_or(true, f64::is_nan) {
                    return Err(invalid(EXPECTED));
                }
                self.word(word.as_bytes());
            }
            Kind::Choice(words) => {
                let name = literal(given, "It has to be a string")?;
                let Some(word) = words.iter().find(|word| word.name == name) else {
                    let names: Vec<_> = words.iter().map(|word| format!("`{}`", word.name)).collect();
                    return Err(Error::new(Code::InvalidArgument, format!("It has to be one of {}", names.join(", "))));
                };
                self.word(word.token.as_bytes());
            }
            Kind::Pairs(left, right, layout) => match given {
                Given::Element(parts) => self.pair(*left, *right, layout, parts)?,
                _ => self.pairs(*left, *right, layout, json(given, "It has to be an object or an array of pairs")?)?,
            },
            Kind::Object(params) => self.scope(params, &Arguments::from_raw(json(given, "It has to be an object")?)?)?,
            Kind::Objects(params, count) => {
                if let Given::Element(parts) = given {
                    self.sized(1, count)?;
                    return self.scope(params, parts);
                }
                let objects = elements(json(given, "It has to be an array of objects")?)?;
                self.sized(objects.len(), count)?;
                for (at, object) in objects.into_iter().enumerate() {
                    let members = Arguments::from_raw(object).map_err(|error| element(error, at))?;
                    self.scope(params, &members).map_err(|error| element(error, at))?;
                }
            }
            Kind::List(of, count) => {
                let all = elements(json(given, "It has to be an array")?)?;
                self.sized(all.len(), count)?;
                for (at, one) in all.into_iter().enumerate() {
                    self.value(*of, &Given::Json(one)).map_err(|error| element(error, at))?;
                }
            }
            Kind::Flag | Kind::Modifier | Kind::OneOf(_) | Kind::Fixed(_) => unreachable!("they have no value"),
        }
        Ok(())
    }

    /// Writes a list of the operation, given as an array, or as its elements one by one.
    pub(super) fn list(&mut self, param: &Param, of: &Kind, count: Count, given: &[&Given<'_>]) -> Result<(), Error> {
        if let [Given::Json(raw)] = given
            && raw.get().starts_with('[')
        {
            let all = elements(raw)?;
            self.begin(param, all.len(), count)?;
            return all.into_iter().enumerate().try_for_each(|(at, one)| self.one(param, of, &Given::Json(one), at));
        }
        self.begin(param, given.len(), count)?;
        given.iter().enumerate().try_for_each(|(at, one)| self.one(param, of, one, at))
    }

    fn one(&mut self, param: &Param, of: &Kind, given: &Given<'_>, at: usize) -> Result<(), Error> {
        if let Token::Each(token) = param.token {
            self.word(token.as_bytes());
        }
        self.value(*of, given).map_err(|error| element(error, at))
    }

    /// Writes what stands before the elements of a list.
    fn begin(&mut self, param: &Param, elements: usize, count: Count) -> Result<(), Error> {
        if let Token::Once(token) = param.token {
            self.word(token.as_bytes());
        }
        if elements == 0 && !param.required && count == Count::Sent {
            self.number(0);
            return Ok(());
        }
        self.sized(elements, count)
    }

    fn sized(&mut self, elements: usize, count: Count) -> Result<(), Error> {
        if elements == 0 {
            return Err(invalid("It has to have at least one element"));
        }
        if count == Count::Sent {
            self.number(elements);
        }
        Ok(())
    }

    fn pairs(&mut self, left: Kind, right: Kind, layout: Layout, raw: &RawValue) -> Result<(), Error> {
        let pairs: Vec<(Given<'_>, &RawValue)> = if raw.get().starts_with('{') {
            members(raw)?.into_iter().map(|(name, value)| (Given::Text(name), value)).collect()
        } else {
            let mut pairs = Vec::new();
            for (at, pair) in elements(raw)?.into_iter().enumerate() {
                match elements(pair).map_err(|error| element(error, at))?[..] {
                    [left, right] => pairs.push((Given::Json(left), right)),
                    _ => return Err(element(invalid("It has to be a pair"), at)),
                }
            }
            pairs
        };
        self.sized(pairs.len(), layout.count())?;
        for (at, (first, second)) in pairs.iter().enumerate() {
            self.value(left, first).map_err(|error| element(error, at))?;
            if !layout.in_columns() {
                self.value(right, &Given::Json(second)).map_err(|error| element(error, at))?;
            }
        }
        if layout.in_columns() {
            for (at, (_, second)) in pairs.iter().enumerate() {
                self.value(right, &Given::Json(second)).map_err(|error| element(error, at))?;
            }
        }
        Ok(())
    }

    /// The one pair that is given by its parts.
    fn pair(&mut self, left: Kind, right: Kind, layout: Layout, parts: &Arguments<'_>) -> Result<(), Error> {
        self.sized(1, layout.count())?;
        let mut halves = parts.iter().map(|(_, half)| half);
        for kind in [left, right] {
            let missing = || Error::new(Code::MissingArgument, "The argument is required").param(Param::VALUE);
            self.value(kind, halves.next().ok_or_else(missing)?).map_err(|error| locate(error, Param::VALUE))?;
        }
        Ok(())
    }

    fn limited(&mut self, value: &[u8]) -> Result<(), Error> {
        if value.len() > self.rules.max_value_bytes {
            let detail = format!("The value has more than {} bytes", self.rules.max_value_bytes);
            return Err(Error::new(Code::ValueTooLarge, detail));
        }
        self.word(value);
        Ok(())
    }

    fn bytes<'g>(&self, given: &'g Given<'_>) -> Result<Cow<'g, [u8]>, Error> {
        bytes(given, self.rules.encoding)
    }
}

/// Reads a byte string: a string in the encoding of the call, or a number's literal.
pub fn bytes<'g>(given: &'g Given<'_>, encoding: Encoding) -> Result<Cow<'g, [u8]>, Error> {
    let text = match given {
        Given::Bytes(bytes) => return Ok(Cow::Borrowed(bytes)),
        Given::Text(text) => Cow::Borrowed(text.as_ref()),
        Given::Element(_) => return Err(invalid("It has to be a string")),
        Given::Json(raw) => match text(raw)? {
            Some(text) => text,
            None => return number(raw).map(|number| Cow::Borrowed(number.as_bytes())).ok_or_else(|| invalid("It has to be a string")),
        },
    };
    match (encoding, text) {
        (Encoding::Base64, text) => decode(&text),
        (Encoding::Utf8, Cow::Borrowed(text)) => Ok(Cow::Borrowed(text.as_bytes())),
        (Encoding::Utf8, Cow::Owned(text)) => Ok(Cow::Owned(text.into_bytes())),
    }
}

const NO_INTEGER: &str = "It has to be an integer of 64 bits";

fn invalid(detail: &'static str) -> Error {
    Error::new(Code::InvalidArgument, detail)
}

/// Says which element is at fault; the argument's name alone stays what clients match on.
fn element(mut error: Error, at: usize) -> Error {
    error.detail = format!("{} (element {at})", error.detail).into();
    error
}

fn decode(text: &str) -> Result<Cow<'static, [u8]>, Error> {
    base64(text).map(Cow::Owned)
}

/// Decodes base64, standard alphabet, with or without padding.
pub fn base64(text: &str) -> Result<Vec<u8>, Error> {
    const ENGINE: GeneralPurpose =
        GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));
    ENGINE.decode(text).map_err(|_| Error::new(Code::BadEncoding, "It is not base64"))
}

/// The literal of a JSON number.
fn number(raw: &RawValue) -> Option<&str> {
    raw.get().starts_with(|first: char| first == '-' || first.is_ascii_digit()).then(|| raw.get())
}

/// A string's text or a number's literal.
fn literal<'g>(given: &'g Given<'_>, expected: &'static str) -> Result<Cow<'g, str>, Error> {
    match given {
        Given::Text(text) => Ok(Cow::Borrowed(text)),
        Given::Bytes(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| invalid(expected)),
        Given::Element(_) => Err(invalid(expected)),
        Given::Json(raw) => match text(raw)? {
            Some(text) => Ok(text),
            None => number(raw).map(Cow::Borrowed).ok_or_else(|| invalid(expected)),
        },
    }
}

/// JSON, which in a query stands in the text.
fn json<'g>(given: &'g Given<'_>, expected: &'static str) -> Result<&'g RawValue, Error> {
    match given {
        Given::Json(raw) => Ok(raw),
        Given::Text(text) => serde_json::from_str(text).map_err(|_| invalid(expected)),
        Given::Bytes(bytes) => serde_json::from_slice(bytes).map_err(|_| invalid(expected)),
        Given::Element(_) => Err(invalid(expected)),
    }
}

/// Whether a flag is set. In a query its name alone sets it.
pub(super) fn flag(given: &Given<'_>) -> Result<bool, Error> {
    let word = match given {
        Given::Json(raw) => raw.get(),
        Given::Text(text) if text.is_empty() => "true",
        Given::Text(text) => text,
        Given::Bytes(_) | Given::Element(_) => "",
    };
    match word {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(invalid("It has to be true or false")),
    }
}

/// Whether it is the literal of a signed 64-bit integer as Redis reads one: no sign but `-`, no leading zero.
fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = digits == "0" || !digits.starts_with(['0', '+']);
    plain && text != "-0" && text.parse::<i64>().is_ok()
}

/// Whether an argument given as `name` is this parameter.
pub(super) fn names(param: &Param, name: &str, given: &Given<'_>) -> bool {
    match given {
        Given::Json(_) | Given::Element(_) => param.name == name,
        Given::Text(_) | Given::Bytes(_) => param.answers_to(name),
    }
}

/// Whether the number of elements is sent before them.
pub(super) fn counted(kind: &Kind) -> bool {
    match kind {
        Kind::List(_, count) | Kind::Objects(_, count) => *count == Count::Sent,
        Kind::Pairs(_, _, layout) => layout.count() == Count::Sent,
        _ => false,
    }
}

/// The parameters that can be given, those in a choice beside the others.
pub(super) fn flat(params: &[Param]) -> Vec<&Param> {
    let mut all = Vec::new();
    for param in params {
        match param.kind {
            Kind::OneOf(choices) => all.extend(flat(choices)),
            Kind::Fixed(_) => {}
            _ => all.push(param),
        }
    }
    all
}

/// How many letters have to be changed, added or dropped to make one word the other.
pub(super) fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, same) in other.iter().enumerate() {
            let changed = diagonal + usize::from(*same != letter);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}
