//! What a few words of a command can make large: a value that reaches as far as a number says, a reply that has as many items
//! as a number says, or as the data. Read from the command's words, so that it holds whatever way a call came.

use std::sync::OnceLock;

use bytes::BytesMut;

use super::{Id, find, ids};
use crate::error::{Code, Error};
use crate::resp::{self, Item, Reader};

/// The most random members, repeats among them, while `limits.maxResultItems` is not set.
const REPEATS: u64 = 100_000;
/// The most bytes of a word that is written again for each element of a document.
const LAYOUT: usize = 64;
/// A length that is not known.
const UNKNOWN: u64 = i64::MAX as u64;

/// What a call has to keep to.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most bytes of a value.
    pub value_bytes: usize,
    /// The most items of a result.
    pub items: Option<u64>,
}

/// What bounds an operation.
#[derive(Clone, Copy, Debug)]
enum Bound {
    /// `SETRANGE key offset value`
    Bytes,
    /// `SETBIT key offset bit`
    Bit,
    /// `BITFIELD key …`
    Bits,
    /// Words behind these tokens are written again for each element.
    Layout(&'static [&'static str]),
    /// The reply has as many items as there are, or the part of them that is asked for.
    Items(Length, Part),
}

/// The commands that say how many items there are.
#[derive(Clone, Copy, Debug)]
enum Length {
    /// Of the whole server.
    Server(&'static str),
    /// Of the key.
    Key(&'static str),
    /// Of the key, which is of one of several types.
    Any(&'static [&'static str]),
    /// Of all the keys; they are counted if it is true.
    Keys(&'static str, bool, Join),
    /// Between two ends, the greater first if it is true.
    Between(&'static str, bool),
    /// Of a ZRANGE, whose options say what its ends are.
    Zrange,
}

/// What several lengths are together, at most.
#[derive(Clone, Copy, Debug)]
enum Join {
    Sum,
    Least,
    Most,
    First,
}

/// Which part of them is asked for.
#[derive(Clone, Copy, Debug)]
enum Part {
    All,
    /// From one position to another.
    Positions,
    /// As many as stand behind the token, all for none; without it as many as this.
    Count(&'static str, u64),
    /// `LIMIT offset count`
    Limit,
    /// What a ZRANGE's options say.
    Zrange,
    /// As many as the last word says, below 0 with repeats.
    Random,
}

const COUNT: &str = "COUNT";
const TYPES: Length = Length::Any(&["LLEN", "SCARD", "ZCARD"]);
const ALL: u64 = u64::MAX;

/// The operations that have a bound.
const BOUNDS: &[(&str, Bound)] = &[
    ("setrange", Bound::Bytes),
    ("setbit", Bound::Bit),
    ("bitfield", Bound::Bits),
    ("json_get", Bound::Layout(&["INDENT", "NEWLINE", "SPACE"])),
    ("keys", Bound::Items(Length::Server("DBSIZE"), Part::All)),
    ("scan", Bound::Items(Length::Server("DBSIZE"), Part::Count(COUNT, 10))),
    ("sort", Bound::Items(TYPES, Part::Limit)),
    ("sort_ro", Bound::Items(TYPES, Part::Limit)),
    ("hgetall", Bound::Items(Length::Key("HLEN"), Part::All)),
    ("hkeys", Bound::Items(Length::Key("HLEN"), Part::All)),
    ("hvals", Bound::Items(Length::Key("HLEN"), Part::All)),
    ("hscan", Bound::Items(Length::Key("HLEN"), Part::Count(COUNT, 10))),
    ("hrandfield", Bound::Items(Length::Key("HLEN"), Part::Random)),
    ("lrange", Bound::Items(Length::Key("LLEN"), Part::Positions)),
    ("lpos", Bound::Items(Length::Key("LLEN"), Part::Count(COUNT, 1))),
    ("smembers", Bound::Items(Length::Key("SCARD"), Part::All)),
    ("sscan", Bound::Items(Length::Key("SCARD"), Part::Count(COUNT, 10))),
    ("srandmember", Bound::Items(Length::Key("SCARD"), Part::Random)),
    ("sunion", Bound::Items(Length::Keys("SCARD", false, Join::Sum), Part::All)),
    ("sinter", Bound::Items(Length::Keys("SCARD", false, Join::Least), Part::All)),
    ("sdiff", Bound::Items(Length::Keys("SCARD", false, Join::First), Part::All)),
    ("zunion", Bound::Items(Length::Keys("ZCARD", true, Join::Sum), Part::All)),
    ("zinter", Bound::Items(Length::Keys("ZCARD", true, Join::Least), Part::All)),
    ("zdiff", Bound::Items(Length::Keys("ZCARD", true, Join::First), Part::All)),
    ("zrandmember", Bound::Items(Length::Key("ZCARD"), Part::Random)),
    ("zrange", Bound::Items(Length::Zrange, Part::Zrange)),
    ("zrangebylex", Bound::Items(Length::Between("ZLEXCOUNT", false), Part::Limit)),
    ("zrangebyscore", Bound::Items(Length::Between("ZCOUNT", false), Part::Limit)),
    ("zrevrange", Bound::Items(Length::Key("ZCARD"), Part::Positions)),
    ("zrevrangebylex", Bound::Items(Length::Between("ZLEXCOUNT", true), Part::Limit)),
    ("zrevrangebyscore", Bound::Items(Length::Between("ZCOUNT", true), Part::Limit)),
    ("zscan", Bound::Items(Length::Key("ZCARD"), Part::Count(COUNT, 10))),
    ("geosearch", Bound::Items(Length::Key("ZCARD"), Part::Count(COUNT, ALL))),
    ("georadius", Bound::Items(Length::Key("ZCARD"), Part::Count(COUNT, ALL))),
    ("georadius_ro", Bound::Items(Length::Key("ZCARD"), Part::Count(COUNT, ALL))),
    ("georadiusbymember", Bound::Items(Length::Key("ZCARD"), Part::Count(COUNT, ALL))),
    ("georadiusbymember_ro", Bound::Items(Length::Key("ZCARD"), Part::Count(COUNT, ALL))),
    ("xrange", Bound::Items(Length::Key("XLEN"), Part::Count(COUNT, ALL))),
    ("xrevrange", Bound::Items(Length::Key("XLEN"), Part::Count(COUNT, ALL))),
];

/// What bounds an operation, if something does.
fn of(id: Id) -> Option<Bound> {
    static BY_ID: OnceLock<Vec<Option<Bound>>> = OnceLock::new();
    let by_id = BY_ID.get_or_init(|| {
        let mut by_id = vec![None; ids().count()];
        for (name, bound) in BOUNDS {
            if let Some(id) = find(name) {
                by_id[id.index()] = Some(*bound);
            }
        }
        by_id
    });
    by_id[id.index()]
}

/// Whether something bounds an operation.
pub fn has(id: Id) -> bool {
    of(id).is_some()
}

/// Refuses a command whose numbers alone say that it would be too large.
///
/// Errors: `value_too_large`, `result_too_large`, each with `param`.
pub fn check(id: Id, command: &[u8], limits: Limits) -> Result<(), Error> {
    of(id).map_or(Ok(()), |bound| check_words(bound, &resp::words(command), limits))
}

#[cold]
fn check_words(bound: Bound, words: &[&[u8]], limits: Limits) -> Result<(), Error> {
    let reaches = |bytes: u64, param: &'static str| match bytes > limits.value_bytes as u64 {
        true => Err(Error::new(
            Code::ValueTooLarge,
            format!("The value would have {bytes} bytes and may have {} (limits.maxValueBytes)", limits.value_bytes),
        )
        .param(param)),
        false => Ok(()),
    };
    match bound {
        // What is no number, or below 0, the server refuses.
        Bound::Bytes => match (number(words, 2), words.get(3)) {
            (Some(offset @ 0..), Some(value)) if !value.is_empty() => {
                reaches(offset.unsigned_abs().saturating_add(value.len() as u64), "offset")
            }
            _ => Ok(()),
        },
        Bound::Bit => match number(words, 2) {
            Some(offset @ 0..) => reaches(offset.unsigned_abs() / 8 + 1, "offset"),
            _ => Ok(()),
        },
        Bound::Bits => {
            let mut at = 2;
            while let Some(word) = words.get(at) {
                let (length, param) = match word.to_ascii_uppercase().as_slice() {
                    b"GET" => (3, None),
                    b"SET" => (4, Some("operations.set.offset")),
                    b"INCRBY" => (4, Some("operations.incrby.offset")),
                    _ => (2, None),
                };
                if let (Some(param), Some(encoding), Some(offset)) = (param, words.get(at + 1), words.get(at + 2)) {
                    reaches(last_byte(encoding, offset).unwrap_or(0), param)?;
                }
                at += length;
            }
            Ok(())
        }
        Bound::Layout(tokens) => {
            for token in tokens {
                if option(words, token, 1).is_some_and(|word| word.len() > LAYOUT) {
                    let detail = format!("It stands in the result again and again, and may have {LAYOUT} bytes");
                    return Err(Error::new(Code::ValueTooLarge, detail).param(token.to_ascii_lowercase()));
                }
            }
            Ok(())
        }
        Bound::Items(_, Part::Random) => match number(words, 2) {
            Some(count @ ..0) if count.unsigned_abs() > limits.items.unwrap_or(REPEATS) => {
                Err(too_many(limits.items.unwrap_or(REPEATS), "count"))
            }
            _ => Ok(()),
        },
        Bound::Items(..) => Ok(()),
    }
}

/// How many bytes a string has that holds an integer of `BITFIELD`.
fn last_byte(encoding: &[u8], offset: &[u8]) -> Option<u64> {
    let parse = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<u64>().ok();
    let width = parse(encoding.get(1..)?)?;
    let first = match offset.strip_prefix(b"#") {
        Some(index) => parse(index)?.saturating_mul(width),
        None => parse(offset)?,
    };
    Some(first.saturating_add(width).div_ceil(8))
}

#[cold]
fn too_many(most: u64, param: &'static str) -> Error {
    let detail = format!("The result would have more than {most} items (limits.maxResultItems); ask for a part, or page through all");
    Error::new(Code::ResultTooLarge, detail).param(param)
}

/// What has to be asked before a command is sent, to know how many items its result has.
#[derive(Debug)]
pub struct Question {
    /// The commands to ask by.
    pub commands: BytesMut,
    /// How many they are.
    pub count: usize,
    join: Join,
    cut: Cut,
    most: u64,
    param: &'static str,
}

/// What to ask before a command may be sent that may have at most so many items; nothing where the command itself says that it
/// has no more.
pub fn question(id: Id, command: &[u8], most: u64) -> Option<Question> {
    let Some(Bound::Items(length, part)) = of(id) else { return None };
    let words = resp::words(command);
    let cut = part.read(&words);
    if cut.of(UNKNOWN) <= most || stores(part, &words) {
        return None;
    }
    let (commands, count, join) = length.ask(&words)?;
    let param = id.operation().params.first().map_or("key", |param| param.name);
    Some(Question { commands, count, join, cut, most, param })
}

impl Question {
    /// Reads an answer to each command. One that is an error says nothing: what is wrong the command itself will be told.
    pub fn judge(&self, answers: &[Option<u64>]) -> Result<(), Error> {
        let mut known = answers.iter().copied().flatten();
        let length = match self.join {
            Join::Sum => known.fold(0, u64::saturating_add),
            Join::Least => known.min().unwrap_or(0),
            Join::Most => known.max().unwrap_or(0),
            Join::First => known.next().unwrap_or(0),
        };
        if self.cut.of(length) > self.most { Err(too_many(self.most, self.param)) } else { Ok(()) }
    }
}

/// The number that a reply is.
pub fn length(frame: &[u8]) -> Option<u64> {
    match Reader::new(frame).read() {
        Ok(Item::Integer(text)) => std::str::from_utf8(text).ok()?.parse().ok(),
        _ => None,
    }
}

impl Length {
    fn ask(self, words: &[&[u8]]) -> Option<(BytesMut, usize, Join)> {
        let mut out = BytesMut::new();
        let mut write = |words: &[&[u8]]| resp::write_command(&mut out, words);
        let key = *words.get(1)?;
        let (count, join) = match self {
            Self::Server(command) => {
                write(&[command.as_bytes()]);
                (1, Join::First)
            }
            Self::Key(command) => {
                write(&[command.as_bytes(), key]);
                (1, Join::First)
            }
            Self::Any(commands) => {
                commands.iter().for_each(|command| write(&[command.as_bytes(), key]));
                (commands.len(), Join::Most)
            }
            Self::Keys(command, counted, join) => {
                let keys = match counted {
                    true => words.get(2..2usize.checked_add(usize::try_from(number(words, 1)?).ok()?)?)?,
                    false => &words[1..],
                };
                keys.iter().for_each(|key| write(&[command.as_bytes(), key]));
                (keys.len(), join)
            }
            Self::Between(command, reversed) => {
                let (first, last) = (*words.get(2)?, *words.get(3)?);
                let (least, most) = if reversed { (last, first) } else { (first, last) };
                write(&[command.as_bytes(), key, least, most]);
                (1, Join::First)
            }
            Self::Zrange => {
                let (reversed, has) = (option(words, "REV", 0).is_some(), |token| option(words, token, 0).is_some());
                let length = match (has("BYSCORE"), has("BYLEX")) {
                    (true, _) => Self::Between("ZCOUNT", reversed),
                    (_, true) => Self::Between("ZLEXCOUNT", reversed),
                    _ => Self::Key("ZCARD"),
                };
                return length.ask(words);
            }
        };
        Some((out, count, join))
    }
}

/// The part of a collection that is asked for.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// The first and the last position, below 0 from the end.
    Positions(i64, i64),
    /// So many are left out, and so many are wanted.
    Part(u64, u64),
}

impl Cut {
    const ALL: Self = Self::Part(0, ALL);

    /// How many of so many.
    fn of(self, length: u64) -> u64 {
        match self {
            Self::Positions(first, last) => {
                let length = i128::from(length);
                let at = |position: i64| if position < 0 { length + i128::from(position) } else { i128::from(position) };
                let count = at(last).min(length - 1) - at(first).max(0) + 1;
                u64::try_from(count.max(0)).unwrap_or(ALL)
            }
            Self::Part(offset, count) => length.saturating_sub(offset).min(count),
        }
    }
}

impl Part {
    /// What is no number is refused by the server: until then it is all.
    fn read(self, words: &[&[u8]]) -> Cut {
        let positive = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok());
        match self {
            Self::All => Cut::ALL,
            Self::Positions => match (number(words, 2), number(words, 3)) {
                (Some(first), Some(last)) => Cut::Positions(first, last),
                _ => Cut::ALL,
            },
            Self::Count(token, default) => match option(words, token, 0) {
                None => Cut::Part(0, default),
                Some(_) => Cut::Part(0, positive(option(words, token, 1).and_then(integer)).filter(|count| *count > 0).unwrap_or(ALL)),
            },
            Self::Limit => Cut::Part(
                positive(option(words, "LIMIT", 1).and_then(integer)).unwrap_or(0),
                positive(option(words, "LIMIT", 2).and_then(integer)).unwrap_or(ALL),
            ),
            Self::Zrange if option(words, "BYSCORE", 0).or(option(words, "BYLEX", 0)).is_some() => Self::Limit.read(words),
            Self::Zrange => Self::Positions.read(words),
            // With repeats it has been checked already.
            Self::Random => number(words, 2).map_or(Cut::Part(0, 1), |count| Cut::Part(0, u64::try_from(count).unwrap_or(0))),
        }
    }
}

/// Whether the result is put somewhere instead of being the reply.
fn stores(part: Part, words: &[&[u8]]) -> bool {
    matches!(part, Part::Count(..) | Part::Limit) && ["STORE", "STOREDIST"].iter().any(|token| option(words, token, 1).is_some())
}

/// The word so far behind a token. Tokens stand behind the key.
fn option<'a>(words: &[&'a [u8]], token: &str, after: usize) -> Option<&'a [u8]> {
    let at = words.iter().skip(2).position(|word| word.eq_ignore_ascii_case(token.as_bytes()))?;
    words.get(2 + at + after).copied()
}

fn integer(word: &[u8]) -> Option<i64> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

fn number(words: &[&[u8]], at: usize) -> Option<i64> {
    words.get(at).and_then(|word| integer(word))
}

#[cfg(test)]
mod tests;
