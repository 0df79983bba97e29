//! From arguments to the command in RESP. The parameters are walked in the order in which they are sent; what they do not
//! use up is unknown. Either the whole command is written, or nothing.

use bytes::{BufMut, BytesMut};
use smallvec::SmallVec;

use super::arguments::{Arguments, Given};
use super::param::{Effect, Kind, Param, Role, Token};
use super::shape::Shape;
use super::{Mode, Operation, read};
use crate::error::{Code, Error};
use crate::resp;

/// How byte strings stand in JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// As text.
    #[default]
    Utf8,
    /// In base64.
    Base64,
}

/// What a call has to keep to.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// How byte strings are given.
    pub encoding: Encoding,
    /// The most bytes a key has.
    pub max_key_bytes: usize,
    /// The most bytes another byte string has.
    pub max_value_bytes: usize,
}

/// What the arguments of a call have selected.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The shape of the reply.
    pub shape: Shape,
    /// The columns of the reply that were asked for, a bit each.
    pub columns: u8,
    /// The call may be sent twice.
    pub idempotent: bool,
    /// The content of the keys it writes is seen as well.
    pub reads: bool,
    /// How the call uses a connection.
    pub mode: Mode,
}

/// What a word of a command means to a caller's rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A key.
    Key(Role),
    /// A channel.
    Channel,
    /// A glob that chooses among all keys.
    Glob,
    /// A pattern that leads to other keys.
    Elsewhere,
}

/// A word and what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// How many words of the command stand before it.
    pub word: usize,
    /// What it is.
    pub place: Place,
}

/// The words of a command that rights are about, in their order.
pub type Marks = SmallVec<[Mark; 4]>;

impl Operation {
    /// Appends the command of a call to `out`. On an error `out` is as before.
    ///
    /// Errors: `missing_argument`, `unknown_argument`, `invalid_argument`, `bad_encoding`, `key_too_large`, `value_too_large`,
    /// each with `param`; `wrong_transport` for what cannot share a connection.
    pub fn encode(&self, arguments: &Arguments<'_>, rules: &Rules, out: &mut BytesMut) -> Result<Plan, Error> {
        if let Some(refusal) = self.mode.refusal() {
            return Err(refusal);
        }
        let start = out.len();
        let plan = self.encode_any(arguments, rules, out)?;
        match plan.mode.refusal() {
            None => Ok(plan),
            Some(refusal) => {
                out.truncate(start);
                Err(refusal)
            }
        }
    }

    /// As [`encode`](Self::encode), whatever the mode.
    pub fn encode_any(&self, arguments: &Arguments<'_>, rules: &Rules, out: &mut BytesMut) -> Result<Plan, Error> {
        self.encode_marked(arguments, rules, out, None)
    }

    /// As [`encode_any`](Self::encode_any), and tells where keys and channels are.
    pub fn encode_marked(
        &self,
        arguments: &Arguments<'_>,
        rules: &Rules,
        out: &mut BytesMut,
        marks: Option<&mut Marks>,
    ) -> Result<Plan, Error> {
        let start = out.len();
        out.put_slice(self.command.head());
        let plan = Plan { shape: self.reply, columns: 0, idempotent: self.idempotent, reads: false, mode: self.mode };
        let mut encoder = Encoder { rules, out, words: self.command.words.len(), plan, marks };
        let encoded = encoder.scope(self.params, arguments);
        let Encoder { words, plan, .. } = encoder;
        match encoded {
            Ok(()) => {
                count(out, start, words);
                Ok(plan)
            }
            Err(error) => {
                out.truncate(start);
                Err(error)
            }
        }
    }
}

/// Sets the number of words, for which one digit is kept free at `start`.
fn count(out: &mut BytesMut, start: usize, words: usize) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(words).as_bytes();
    let more = digits.len() - 1;
    if more > 0 {
        let end = out.len();
        out.resize(end + more, 0);
        out.copy_within(start + 2..end, start + 2 + more);
    }
    out[start + 1..=start + digits.len()].copy_from_slice(digits);
}

pub(super) struct Encoder<'r, 'o> {
    pub(super) rules: &'r Rules,
    out: &'o mut BytesMut,
    words: usize,
    plan: Plan,
    marks: Option<&'o mut Marks>,
}

impl Encoder<'_, '_> {
    /// Marks the next word.
    pub(super) fn mark(&mut self, place: Place) {
        let word = self.words;
        if let Some(marks) = &mut self.marks {
            marks.push(Mark { word, place });
        }
    }

    /// Encodes arguments that are all known.
    pub(super) fn scope(&mut self, params: &[Param], arguments: &Arguments<'_>) -> Result<(), Error> {
        let mut used = 0;
        for param in params {
            used += match self.param(param, arguments) {
                Ok((used, _)) => used,
                // A misspelt argument is missing and unknown; the second helps more.
                Err(error) if error.code == Code::MissingArgument => return Err(misspelt(params, arguments).unwrap_or(error)),
                Err(error) => return Err(error),
            };
        }
        if used == arguments.len() { Ok(()) } else { Err(stray(params, arguments)) }
    }

    /// How many arguments it used, and whether it was given.
    fn param(&mut self, param: &Param, arguments: &Arguments<'_>) -> Result<(usize, bool), Error> {
        match param.kind {
            Kind::OneOf(choices) => return self.one_of(param, choices, arguments),
            Kind::Fixed(word) => {
                self.word(word.as_bytes());
                return Ok((0, false));
            }
            _ => {}
        }
        let mut given = arguments.iter().filter(|(name, value)| read::names(param, name, value)).map(|(_, value)| value);
        let Some(first) = given.next() else {
            self.absent(param)?;
            return Ok((0, false));
        };
        let at = |error: Error| match first {
            // Its parts go by their own names.
            Given::Element(_) if error.param.is_some() => error,
            _ => locate(error, param.name),
        };
        let used = match param.kind {
            Kind::Flag | Kind::Modifier => {
                if !read::flag(first).map_err(at)? {
                    return Ok((1, false));
                }
                if let (Kind::Flag, Token::Once(token)) = (param.kind, param.token) {
                    self.word(token.as_bytes());
                }
                1
            }
            Kind::List(of, count) => {
                let all: SmallVec<[&Given<'_>; 4]> = std::iter::once(first).chain(given).collect();
                self.list(param, of, count, &all).map_err(at)?;
                all.len()
            }
            _ => {
                self.token(param, arguments)?;
                self.value(param.kind, first).map_err(at)?;
                1
            }
        };
        if let Some(other) = replaced(param, arguments) {
            return Err(excluded(other, param.name));
        }
        for effect in param.effects {
            self.effect(effect);
        }
        if let Some(other) = param.requires.filter(|other| arguments.get(other).is_none()) {
            return Err(Error::new(Code::InvalidArgument, format!("It makes no sense without `{other}`")).param(param.name));
        }
        Ok((used, true))
    }

    fn one_of(&mut self, group: &Param, choices: &'static [Param], arguments: &Arguments<'_>) -> Result<(usize, bool), Error> {
        let (mut used, mut chosen) = (0, None::<&Param>);
        for choice in choices {
            let (more, given) = self.param(choice, arguments)?;
            used += more;
            if given {
                if let Some(first) = chosen {
                    return Err(excluded(first.name, choice.name));
                }
                chosen = Some(choice);
            }
        }
        let replaced = replaced(group, arguments);
        if let (Some(other), Some(choice)) = (replaced, chosen) {
            return Err(excluded(other, choice.name));
        }
        if chosen.is_none() && group.required && replaced.is_none() {
            let names: Vec<_> = choices.iter().map(|choice| format!("`{}`", choice.name)).collect();
            return Err(Error::new(Code::MissingArgument, format!("One of {} is required", names.join(", "))).param(choices[0].name));
        }
        Ok((used, chosen.is_some()))
    }

    fn absent(&mut self, param: &Param) -> Result<(), Error> {
        if let Some(default) = param.default {
            if let Token::Once(token) = param.token {
                self.word(token.as_bytes());
            }
            self.word(default.as_bytes());
        } else if param.required {
            return Err(Error::new(Code::MissingArgument, "The argument is required").param(param.name));
        } else if read::counted(&param.kind) && matches!(param.token, Token::None) {
            self.word(b"0");
        }
        Ok(())
    }

    /// Writes what announces a value.
    fn token(&mut self, param: &Param, arguments: &Arguments<'_>) -> Result<(), Error> {
        match param.token {
            Token::None => {}
            Token::Once(token) | Token::Each(token) => self.word(token.as_bytes()),
            Token::Modified { token, flag, word } => {
                self.word(token.as_bytes());
                if let Some(given) = arguments.get(flag)
                    && read::flag(given).map_err(|error| locate(error, flag))?
                {
                    self.word(word.as_bytes());
                }
            }
        }
        Ok(())
    }

    fn effect(&mut self, effect: &Effect) {
        match *effect {
            Effect::Shape(shape) => self.plan.shape = shape,
            Effect::Column(column) => self.plan.columns |= 1 << column,
            Effect::Reads => self.plan.reads = true,
            Effect::Once => self.plan.idempotent = false,
            Effect::Blocks(reason) => self.plan.mode = Mode::Blocking(reason),
        }
    }

    pub(super) fn word(&mut self, word: &[u8]) {
        self.words += 1;
        resp::write_bulk(self.out, word);
    }

    /// Writes the number of elements.
    pub(super) fn number(&mut self, number: usize) {
        self.word(itoa::Buffer::new().format(number).as_bytes());
    }
}

/// The argument that is given in place of this one.
fn replaced(param: &Param, arguments: &Arguments<'_>) -> Option<&'static str> {
    param.instead.filter(|other| arguments.get(other).is_some_and(|given| !matches!(read::flag(given), Ok(false))))
}

#[cold]
fn excluded(other: &str, name: &'static str) -> Error {
    Error::new(Code::InvalidArgument, format!("`{other}` and `{name}` exclude each other")).param(name)
}

/// Names the argument at fault; inside an object, by its path.
pub(super) fn locate(mut error: Error, name: &'static str) -> Error {
    error.param = Some(match error.param {
        None => name.into(),
        Some(inner) => format!("{name}.{inner}").into(),
    });
    error
}

/// What is wrong when not every argument was used.
#[cold]
fn stray(params: &[Param], arguments: &Arguments<'_>) -> Error {
    let known = read::flat(params);
    for (at, (name, value)) in arguments.iter().enumerate() {
        let Some(param) = known.iter().find(|param| read::names(param, name, value)) else {
            return unknown(&known, name);
        };
        if arguments.iter().take(at).any(|(other, value)| read::names(param, other, value)) && !matches!(param.kind, Kind::List(..)) {
            return Error::new(Code::InvalidArgument, "The argument is given twice").param(param.name);
        }
    }
    Error::new(Code::InvalidArgument, "An argument is given twice")
}

/// The first argument that the operation does not have.
#[cold]
fn misspelt(params: &[Param], arguments: &Arguments<'_>) -> Option<Error> {
    let known = read::flat(params);
    let is_known = |name, value| known.iter().any(|param| read::names(param, name, value));
    arguments.iter().find(|(name, value)| !is_known(name, value)).map(|(name, _)| unknown(&known, name))
}

fn unknown(known: &[&Param], name: &str) -> Error {
    let nearest = known.iter().map(|param| (read::distance(param.name, name), param.name)).min();
    let detail = match nearest {
        Some((distance, near)) if distance <= 1 + near.len() / 4 => format!("There is no such argument; `{near}` is the nearest"),
        _ if known.is_empty() => "The operation takes no arguments".to_owned(),
        _ => {
            let names: Vec<_> = known.iter().map(|param| format!("`{}`", param.name)).collect();
            format!("There is no such argument; there are {}", names.join(", "))
        }
    };
    Error::new(Code::UnknownArgument, detail).param(name.chars().take(64).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::find;

    const RULES: Rules = Rules { encoding: Encoding::Utf8, max_key_bytes: 8, max_value_bytes: 16 };

    fn words(name: &str, arguments: &str) -> Result<String, Error> {
        let mut out = BytesMut::from("before");
        let arguments = Arguments::from_json(arguments.as_bytes())?;
        let done = find(name).unwrap().operation().encode(&arguments, &RULES, &mut out);
        if done.is_err() {
            assert_eq!(&out[..], b"before");
        }
        done.map(|_| String::from_utf8_lossy(&out[6..]).into_owned())
    }

    fn fault(name: &str, arguments: &str) -> (Code, String) {
        let error = words(name, arguments).unwrap_err();
        (error.code, error.param.unwrap_or_default().into_owned())
    }

    #[test]
    fn commands_are_encoded() {
        assert_eq!(words("get", r#"{"key":"a"}"#).unwrap(), "*2\r\n$3\r\nGET\r\n$1\r\na\r\n");
        assert_eq!(
            words("set", r#"{"nx":true,"value":12.50,"ex":"60","key":"\u00e9"}"#).unwrap(),
            "*6\r\n$3\r\nSET\r\n$2\r\né\r\n$5\r\n12.50\r\n$2\r\nNX\r\n$2\r\nEX\r\n$2\r\n60\r\n"
        );
        assert_eq!(words("mget", r#"{"keys":"a"}"#).unwrap(), "*2\r\n$4\r\nMGET\r\n$1\r\na\r\n");
        let many = words("mget", r#"{"keys":["0","1","2","3","4","5","6","7","8"]}"#).unwrap();
        assert!(many.starts_with("*10\r\n$4\r\nMGET\r\n$1\r\n0\r\n") && many.ends_with("$1\r\n8\r\n"));
        for values in [r#"{"values":{"a":1,"b":"2"}}"#, r#"{"values":[["a",1],["b","2"]]}"#] {
            assert_eq!(words("mset", values).unwrap(), "*5\r\n$4\r\nMSET\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$1\r\n2\r\n");
        }
    }

    #[test]
    fn what_is_wrong_is_told_by_code_and_param() {
        let at = |code, param: &str| (code, param.to_owned());
        assert_eq!(fault("get", "{}"), at(Code::MissingArgument, "key"));
        assert_eq!(fault("get", r#"{"key":null}"#), at(Code::InvalidArgument, "key"));
        assert_eq!(fault("get", r#"{"key":true}"#), at(Code::InvalidArgument, "key"));
        assert_eq!(fault("get", r#"{"key":["a"]}"#), at(Code::InvalidArgument, "key"));
        assert_eq!(fault("get", r#"{"key":"\ud800"}"#), at(Code::InvalidArgument, "key"));
        assert_eq!(fault("get", r#"{"key":"123456789"}"#), at(Code::KeyTooLarge, "key"));
        assert_eq!(fault("get", r#"{"key":"a","kye":"a"}"#), at(Code::UnknownArgument, "kye"));
        assert_eq!(fault("get", r#"{"kye":"a"}"#), at(Code::UnknownArgument, "kye"));
        assert_eq!(fault("set", r#"{"key":"a","value":"12345678901234567"}"#), at(Code::ValueTooLarge, "value"));
        assert_eq!(fault("set", r#"{"key":"a","value":"1","nx":true,"xx":true}"#), at(Code::InvalidArgument, "xx"));
        assert_eq!(fault("set", r#"{"key":"a","value":"1","nx":1}"#), at(Code::InvalidArgument, "nx"));
        assert_eq!(fault("mget", r#"{"keys":[]}"#), at(Code::InvalidArgument, "keys"));
        assert_eq!(fault("mget", r#"{"keys":["a",null]}"#), at(Code::InvalidArgument, "keys"));
        assert_eq!(fault("mset", r#"{"values":[["a"]]}"#), at(Code::InvalidArgument, "values"));
        for bad in ["1.0", "1e3", "9223372036854775808", "\"01\"", "\"+1\"", "\" 1\"", "\"\"", "-0", "null", "true"] {
            assert_eq!(fault("incrby", &format!(r#"{{"key":"a","increment":{bad}}}"#)), at(Code::InvalidArgument, "increment"), "{bad}");
        }
    }

    #[test]
    fn the_nearest_argument_is_named() {
        let detail = words("set", r#"{"key":"a","value":"1","exx":1}"#).unwrap_err().detail;
        assert!(detail.contains("`ex`"), "{detail}");
    }

    #[test]
    fn arguments_change_the_plan() {
        let plan = |arguments: &str| {
            let arguments = Arguments::from_json(arguments.as_bytes()).unwrap();
            find("set").unwrap().operation().encode(&arguments, &RULES, &mut BytesMut::new()).unwrap()
        };
        let plain = plan(r#"{"key":"a","value":"1"}"#);
        assert!(plain.idempotent && !plain.reads && matches!(plain.shape, Shape::Nullable(Shape::Word)));
        let get = plan(r#"{"key":"a","value":"1","get":true}"#);
        assert!(!get.idempotent && get.reads && matches!(get.shape, Shape::Nullable(Shape::Bytes)));
        assert!(plan(r#"{"key":"a","value":"1","get":false,"nx":false,"xx":true}"#).idempotent);
    }

    #[test]
    fn paths_and_queries_give_bytes_and_text() {
        let set = find("set").unwrap().operation();
        let mut arguments = Arguments::default();
        arguments.push("key", Given::Bytes((&b"\xff"[..]).into()));
        arguments.push("value", Given::Bytes((&b"raw"[..]).into()));
        arguments.push("nx", Given::Text("".into()));
        let mut out = BytesMut::new();
        set.encode(&arguments, &Rules { encoding: Encoding::Base64, ..RULES }, &mut out).unwrap();
        assert_eq!(&out[..], b"*4\r\n$3\r\nSET\r\n$1\r\n\xff\r\n$3\r\nraw\r\n$2\r\nNX\r\n");
        arguments.push("key", Given::Text("YQ==".into()));
        let twice = set.encode(&arguments, &RULES, &mut out).unwrap_err();
        assert_eq!((twice.code, twice.param.as_deref()), (Code::InvalidArgument, Some("key")));
        let mut keys = Arguments::default();
        keys.push("key", Given::Text("YQ==".into()));
        keys.push("keys", Given::Bytes((&b"b"[..]).into()));
        let mut out = BytesMut::new();
        find("mget").unwrap().operation().encode(&keys, &Rules { encoding: Encoding::Base64, ..RULES }, &mut out).unwrap();
        assert_eq!(&out[..], b"*3\r\n$4\r\nMGET\r\n$1\r\na\r\n$1\r\nb\r\n");
    }
}
