//! Where the keys of a raw command stand, if that is certain: all of them among the words that cannot be left out, in front of
//! everything that can. Of other commands the words can be read in more than one way, and are not guessed.

use crate::operation::{
    Id, Operation,
    encode::{Mark, Marks, Place},
    param::{Count, Kind, Layout, Param, Token},
};

/// The keys and channels of a command; `None` where they cannot be told for certain.
pub(super) fn marks(id: Id, words: &[&[u8]]) -> Option<Marks> {
    let operation = id.operation();
    let mut walk = Walk { words, at: operation.command.words.len(), marks: Marks::new() };
    let ahead = ahead(operation)?;
    for (index, param) in operation.params[..ahead].iter().enumerate() {
        // What is last among those in front goes on to the end.
        let behind = operation.params[index + 1..].iter().map(least).collect::<Option<Vec<_>>>();
        let behind: Option<usize> = behind.map(|counts| counts.iter().sum());
        walk.param(param, behind)?;
    }
    Some(walk.marks)
}

/// The keys and channels themselves, where they can be told.
pub fn raw_names<'w>(id: Id, words: &[&'w [u8]]) -> Vec<&'w [u8]> {
    marks(id, words).into_iter().flatten().filter_map(|mark| words.get(mark.word).copied()).collect()
}

/// How many params stand in front of everything that can be left out; `None` if there are keys behind them.
fn ahead(operation: &Operation) -> Option<usize> {
    let fixed = |param: &Param| matches!(param.kind, Kind::Fixed(_)) || (param.required && matches!(param.token, Token::None));
    let plain = |param: &Param| fixed(param) && param.instead.is_none() && !matches!(param.kind, Kind::OneOf(_) | Kind::Object(_));
    let ahead = operation.params.iter().take_while(|param| plain(param)).count();
    operation.params[ahead..].iter().all(|param| !names(&param.kind)).then_some(ahead)
}

/// Whether an argument can hold what rights are about.
pub(super) fn names(kind: &Kind) -> bool {
    match kind {
        Kind::Key(_) | Kind::Channel | Kind::Glob | Kind::Elsewhere | Kind::OtherDatabase => true,
        Kind::List(of, _) => names(of),
        Kind::Pairs(left, right, _) => names(left) || names(right),
        Kind::Object(params) | Kind::Objects(params, _) | Kind::OneOf(params) => params.iter().any(|param| names(&param.kind)),
        _ => false,
    }
}

/// How many words an argument is, if that is always the same.
fn least(param: &Param) -> Option<usize> {
    match param.kind {
        Kind::Fixed(_) => Some(1),
        Kind::List(..) | Kind::Pairs(..) | Kind::Object(_) | Kind::Objects(..) | Kind::OneOf(_) | Kind::Flag | Kind::Modifier => None,
        _ => (param.required && matches!(param.token, Token::None)).then_some(1),
    }
}

struct Walk<'w> {
    words: &'w [&'w [u8]],
    at: usize,
    marks: Marks,
}

impl Walk<'_> {
    fn one(&mut self, kind: &Kind) -> Option<()> {
        let place = match kind {
            Kind::Key(role) => Some(Place::Key(*role)),
            Kind::Channel => Some(Place::Channel),
            Kind::Glob => Some(Place::Glob),
            Kind::Elsewhere | Kind::OtherDatabase => Some(Place::Elsewhere),
            _ => None,
        };
        (self.at < self.words.len()).then_some(())?;
        self.marks.extend(place.map(|place| Mark { word: self.at, place }));
        self.at += 1;
        Some(())
    }

    /// Reads a count as the server does, which takes no other writing of it.
    fn count(&mut self) -> Option<usize> {
        let word = std::str::from_utf8(self.words.get(self.at)?).ok()?;
        let count: usize = word.parse().ok()?;
        self.at += 1;
        (count.to_string() == word && count <= self.words.len()).then_some(count)
    }

    fn param(&mut self, param: &Param, behind: Option<usize>) -> Option<()> {
        let left = |walk: &Self| walk.words.len().checked_sub(walk.at)?.checked_sub(behind?);
        match param.kind {
            Kind::Fixed(_) => {
                self.at += 1;
                Some(())
            }
            Kind::List(of, count) => {
                let count = if count == Count::Sent { self.count()? } else { left(self)? };
                (0..count).try_for_each(|_| self.one(of))
            }
            Kind::Pairs(first, second, Layout::Interleaved) => {
                let count = left(self)?;
                (count % 2 == 0).then_some(())?;
                (0..count / 2).try_for_each(|_| self.one(first).and_then(|()| self.one(second)))
            }
            Kind::Pairs(first, second, Layout::Counted) => {
                let count = self.count()?;
                (0..count).try_for_each(|_| self.one(first).and_then(|()| self.one(second)))
            }
            Kind::Pairs(..) | Kind::Objects(..) => (!names(&param.kind)).then_some(()),
            ref kind => self.one(kind),
        }
    }
}
