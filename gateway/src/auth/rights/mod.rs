//! What a caller may do at one database. Every command is judged here once it is encoded, whatever it came as; keys and channels
//! get the caller's prefix here, and lose it in replies.
//!
//! A call needs a grant that allows its operation, and for each of its keys one that lets the operation see what is there or
//! change it, as the key's role in the table says. What has no keys that can be known beforehand needs a grant without `keys` and
//! without a prefix.

mod access;
mod command;
mod glob;
mod names;
mod raw;
mod told;

use bytes::{Bytes, BytesMut};
use dbx_crds::config::{Database, Effect, Grant};
pub use raw::raw_names;

pub use self::access::check_access;
pub(crate) use self::glob::matches;
use self::{access::Access, command::Change};
use crate::{
    error::{Code, Error},
    operation::{
        Class, Group, Id, Mode, Operation,
        encode::{Mark, Marks, Place, Plan},
        param::{Kind, Param, Role},
    },
    resp,
};

/// What a caller may do at one database.
#[derive(Debug)]
pub struct Rights {
    /// Everything, as it is.
    all: bool,
    allows: Vec<Rule>,
    denies: Vec<Rule>,
    prefix: Option<Bytes>,
    backend_user: Option<usize>,
}

/// A grant, compiled.
#[derive(Debug)]
struct Rule {
    access: Access,
    /// Every key, or those that match one of these.
    keys: Option<Vec<Bytes>>,
    channels: Option<Vec<Bytes>>,
    /// Its calls go out as another ACL user, whom the server confines.
    confined: bool,
}

impl Rule {
    fn read(grant: &Grant) -> Result<Self, String> {
        let globs = |globs: &[String]| globs.iter().map(|glob| Bytes::copy_from_slice(glob.as_bytes())).collect::<Vec<_>>();
        let keys = grant.keys.as_deref().map(globs);
        let channels = match (&grant.channels, &keys) {
            (Some(channels), _) => Some(globs(channels)),
            // Who is confined to some keys has not been granted all channels.
            (None, Some(_)) if grant.prefix.is_none() && grant.effect == Effect::Allow => Some(Vec::new()),
            (None, Some(_)) if grant.effect == Effect::Deny => Some(Vec::new()),
            _ => None,
        };
        // A refusal of channels alone is none of keys.
        let keys = match (keys, &grant.channels) {
            (None, Some(_)) if grant.effect == Effect::Deny => Some(Vec::new()),
            (keys, _) => keys,
        };
        Ok(Self { access: Access::read(&grant.access)?, keys, channels, confined: grant.backend_user.is_some() })
    }

    fn has_key(&self, key: &[u8]) -> bool {
        self.keys.as_ref().is_none_or(|globs| globs.iter().any(|glob| matches(glob, key)))
    }

    fn has_channel(&self, channel: &[u8]) -> bool {
        self.channels.as_ref().is_none_or(|globs| globs.iter().any(|glob| matches(glob, channel)))
    }

    /// It is about everything there is, not about some names.
    fn is_whole(&self) -> bool {
        self.keys.is_none() && self.channels.is_none()
    }
}

/// What an operation touches that its words do not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// Nothing.
    Named,
    /// Names of keys, of which a caller is told those that it may know of.
    Listed,
    /// Anything.
    Everything,
}

fn reach(operation: &Operation) -> Reach {
    let lists = |param: &Param| matches!(param.kind, Kind::Glob);
    match (operation.group, operation.access.class) {
        _ if operation.params.iter().any(lists) => Reach::Listed,
        (_, Class::Open) => Reach::Named,
        (Group::Scripting, _) | (_, Class::Admin) => Reach::Everything,
        // What is listened to is judged by its name where it is listened to.
        (_, Class::Subscribe) if matches!(operation.mode, Mode::Streaming(_)) => Reach::Named,
        _ if operation.params.iter().any(|param| raw::names(&param.kind)) => Reach::Named,
        _ => Reach::Everything,
    }
}

/// What an operation does with keys that nobody has looked at, such as those that a script finds by itself.
fn whole(operation: &Operation) -> Role {
    let has_keys = operation.params.iter().any(|param| raw::names(&param.kind));
    Role { read: has_keys, write: has_keys && operation.changes(), delete: false }
}

impl Rights {
    /// Everything.
    pub fn all() -> Self {
        Self { all: true, allows: Vec::new(), denies: Vec::new(), prefix: None, backend_user: None }
    }

    /// What grants give at a database; those of other databases are left out. Errors say what is wrong with them.
    pub fn compile(database: &Database, grants: &[&Grant]) -> Result<Self, String> {
        let mut rights = Self { all: false, ..Self::all() };
        let mut ways: Vec<(&Option<String>, &Option<String>)> = Vec::new();
        for grant in grants.iter().filter(|grant| grant.databases.is_empty() || grant.databases.contains(&database.name)) {
            let rule = Rule::read(grant)?;
            match grant.effect {
                Effect::Deny => rights.denies.push(rule),
                Effect::Allow => {
                    rights.allows.push(rule);
                    ways.push((&grant.prefix, &grant.backend_user));
                }
            }
        }
        if let Some((prefix, user)) = ways.first() {
            if ways.iter().any(|(other, _)| other != prefix) {
                return Err(format!("the grants of one caller at `{}` name two prefixes, or one and none", database.name));
            }
            if ways.iter().any(|(_, other)| other != user) {
                return Err(format!("the grants of one caller at `{}` name two backend users, or one and none", database.name));
            }
            rights.prefix = prefix.as_ref().map(|prefix| Bytes::copy_from_slice(prefix.as_bytes()));
            let users = database.redis.iter().flat_map(|redis| &redis.users);
            rights.backend_user = match user {
                Some(user) => {
                    let place = users.into_iter().position(|known| known.name == *user);
                    // As anybody else, what only the server confines would not be confined at all.
                    Some(place.ok_or_else(|| format!("`{}` has no backend user `{user}`", database.name))?)
                }
                None => None,
            };
        }
        let whole = |rule: &Rule| rule.access.everything && rule.is_whole();
        rights.all = rights.denies.is_empty() && rights.prefix.is_none() && rights.allows.iter().any(whole);
        Ok(rights)
    }

    /// Whether nothing is refused and nothing rewritten.
    pub fn is_all(&self) -> bool {
        self.all
    }

    /// Whether there is anything that the caller may do.
    pub fn is_none(&self) -> bool {
        !self.all && self.allows.is_empty()
    }

    /// The place among the database's `users` of the one that its calls go out as.
    pub fn backend_user(&self) -> Option<usize> {
        self.backend_user
    }

    /// Judges the command that was encoded behind `start`, and puts the prefix before its keys and channels. On an error `command`
    /// is as it was.
    ///
    /// Errors: `forbidden`.
    pub fn admit(&self, id: Id, plan: &Plan, marks: &Marks, command: &mut BytesMut, start: usize) -> Result<(), Error> {
        if self.all {
            return Ok(());
        }
        self.operation(id)?;
        self.words(id, plan, marks, &resp::words(&command[start..]))?;
        if let Some(prefix) = &self.prefix {
            let prefix = prefix.clone();
            let change = Change { prefix: &prefix, marks };
            change.apply(id, command, start);
        }
        Ok(())
    }

    fn words(&self, id: Id, plan: &Plan, marks: &Marks, words: &[&[u8]]) -> Result<(), Error> {
        for Mark { word, place } in marks {
            let word = words.get(*word).copied().unwrap_or_default();
            match *place {
                Place::Key(role) => self.judge_key(id, Role { read: role.read || (plan.reads && role.write), ..role }, word)?,
                Place::Channel => self.judge_channel(id, word)?,
                Place::Glob => {}
                Place::Elsewhere => self.judge_elsewhere(id, word)?,
            }
        }
        Ok(())
    }

    /// Judges a raw command. Without an operation it may be anything.
    ///
    /// Errors: `forbidden`.
    pub fn admit_raw(&self, id: Option<Id>, command: &mut BytesMut) -> Result<(), Error> {
        if self.all {
            return Ok(());
        }
        let Some(id) = id else { return self.anything(None, Role::METADATA) };
        if self.prefix.is_none() && reach(id.operation()) == Reach::Everything {
            return self.operation(id);
        }
        let marks = raw::marks(id, &resp::words(command));
        let Some(marks) = marks else {
            self.operation(id)?;
            // Who may touch every key may say it as it likes.
            let name = id.operation().name;
            return self.anything(Some(id), whole(id.operation())).map_err(|_| {
                forbidden(format!("its keys cannot be told for certain from the words of a raw command; call `{name}` by its name"))
            });
        };
        let reads = id.operation().access.class == Class::Write;
        let mode = id.operation().mode;
        // Without its arguments read, a change may show what was there.
        let plan = Plan { shape: id.operation().reply, columns: 0, idempotent: false, reads, mode };
        self.admit(id, &plan, &marks, command, 0)
    }

    /// Whether there is a way to call an operation that is not refused.
    pub fn may_call(&self, id: Id) -> bool {
        self.all || self.operation(id).is_ok()
    }

    /// Whether a caller may call an operation at all.
    fn operation(&self, id: Id) -> Result<(), Error> {
        let operation = id.operation();
        if !self.allows.iter().any(|rule| rule.access.calls.has(id)) {
            return Err(forbidden(format!(
                "no grant allows `{}`, which is of the class `{}`",
                operation.name,
                operation.access.class.name()
            )));
        }
        if self.denies.iter().any(|rule| rule.is_whole() && rule.access.calls.has(id)) {
            return Err(forbidden(format!("a grant denies `{}`", operation.name)));
        }
        match reach(operation) {
            Reach::Everything if operation.group == Group::Scripting => self.anything(Some(id), whole(operation)),
            Reach::Everything => self.anything(Some(id), Role::METADATA),
            Reach::Named | Reach::Listed => Ok(()),
        }
    }

    /// Whether a caller may do what can touch any key, and see or change any as the role says.
    fn anything(&self, id: Option<Id>, role: Role) -> Result<(), Error> {
        let scripting = id.is_some_and(|id| id.operation().group == Group::Scripting);
        let wide = |rule: &Rule| (scripting && rule.confined) || (rule.is_whole() && self.prefix.is_none());
        let allowed = match id {
            Some(id) => {
                let some = |set: fn(&Access) -> &access::Set| self.allows.iter().any(|rule| wide(rule) && set(&rule.access).has(id));
                some(|access| &access.calls)
                    && (!role.read || some(|access| &access.reads))
                    && (!role.write || some(|access| &access.writes))
            }
            None => self.allows.iter().any(|rule| wide(rule) && rule.access.everything),
        };
        let denies = |rule: &Rule| id.is_none_or(|id| rule.access.calls.has(id) || rule.access.reads.has(id));
        if allowed && !self.denies.iter().any(denies) {
            return Ok(());
        }
        let detail = match id {
            Some(id) if self.is_confined() => format!("`{}` can touch any key, and the caller is confined to some", id.operation().name),
            Some(id) => format!("`{}` can see and change any key, and no grant allows both", id.operation().name),
            None => "the command is not known, and the caller is confined".to_owned(),
        };
        Err(forbidden(detail))
    }

    /// Whether there are keys that are not the caller's to touch.
    fn is_confined(&self) -> bool {
        self.prefix.is_some() || !self.denies.is_empty() || !self.allows.iter().any(Rule::is_whole)
    }

    fn judge_key(&self, id: Id, role: Role, key: &[u8]) -> Result<(), Error> {
        type Wanted = fn(&Access) -> &access::Set;
        let allowed = |wanted: Wanted| self.allows.iter().any(|rule| wanted(&rule.access).has(id) && rule.has_key(key));
        let (reads, writes): (Wanted, Wanted) = (|access| &access.reads, |access| &access.writes);
        let is_allowed = match (role.read, role.write) {
            (true, true) => allowed(reads) && allowed(writes),
            (true, false) => allowed(reads),
            (false, true) => allowed(writes),
            (false, false) => allowed(reads) || allowed(writes),
        };
        if !is_allowed {
            let what = match (role.read, role.write) {
                (true, true) => "see and change",
                (false, true) => "change",
                _ => "see",
            };
            return Err(forbidden(format!("no grant lets `{}` {what} one of the keys", id.operation().name)));
        }
        let denies = |rule: &Rule| {
            let about = rule.access.calls.has(id) || (role.read && rule.access.reads.has(id)) || (role.write && rule.access.writes.has(id));
            about && rule.keys.as_ref().is_some_and(|globs| globs.iter().any(|glob| matches(glob, key)))
        };
        match self.denies.iter().any(denies) {
            true => Err(forbidden(format!("a grant denies `{}` one of the keys", id.operation().name))),
            false => Ok(()),
        }
    }

    fn judge_channel(&self, id: Id, channel: &[u8]) -> Result<(), Error> {
        if !self.hears(channel) {
            return Err(forbidden("what happens to keys is told by `observe`, of those that the caller may see".into()));
        }
        if !self.allows.iter().any(|rule| rule.access.calls.has(id) && rule.has_channel(channel)) {
            return Err(forbidden(format!("no grant gives `{}` this channel", id.operation().name)));
        }
        let denies = |rule: &Rule| {
            rule.access.calls.has(id) && rule.channels.as_ref().is_some_and(|globs| globs.iter().any(|glob| matches(glob, channel)))
        };
        match self.denies.iter().any(denies) {
            true => Err(forbidden(format!("a grant denies `{}` this channel", id.operation().name))),
            false => Ok(()),
        }
    }

    /// A pattern without `*` leads nowhere: the server looks up no key for it.
    fn judge_elsewhere(&self, id: Id, pattern: &[u8]) -> Result<(), Error> {
        if pattern == b"#" || pattern.eq_ignore_ascii_case(b"nosort") {
            return Ok(());
        }
        self.anything(Some(id), whole(id.operation())).map_err(|_| {
            let name = id.operation().name;
            forbidden(format!(
                "an argument of `{name}` leads to keys that cannot be known beforehand, and the caller is confined to some; of those of `sort`, `#` and \
                 `nosort` do not"
            ))
        })
    }

    /// Judges what an operation does with one key that is no part of a command yet; the key as the database knows it.
    pub fn key(&self, id: Id, role: Role, key: Bytes) -> Result<Bytes, Error> {
        if self.all {
            return Ok(key);
        }
        self.operation(id)?;
        self.judge_key(id, role, &key)?;
        Ok(self.prefixed(key))
    }

    /// Judges listening to a channel; the channel as the database knows it.
    pub fn channel(&self, id: Id, channel: Bytes) -> Result<Bytes, Error> {
        if self.all {
            return Ok(channel);
        }
        self.operation(id)?;
        self.judge_channel(id, &channel)?;
        Ok(self.prefixed(channel))
    }

    /// Judges listening to all channels that match a glob, which has to be granted as it is, or all channels; the glob as the
    /// database knows it.
    pub fn pattern(&self, id: Id, pattern: Bytes) -> Result<Bytes, Error> {
        if self.all {
            return Ok(pattern);
        }
        // It names no channel, so the reach of the operation is that of the glob.
        let granted = |rule: &Rule| rule.access.calls.has(id) && rule.channels.as_ref().is_none_or(|globs| globs.contains(&pattern));
        let denied = |rule: &Rule| rule.access.calls.has(id) && rule.channels.as_ref().is_none_or(|globs| !globs.is_empty());
        if !self.allows.iter().any(granted) || self.denies.iter().any(denied) {
            return Err(forbidden(format!(
                "no grant gives `{}` this pattern of channels; one has to be granted as it is",
                id.operation().name
            )));
        }
        Ok(self.globbed(pattern))
    }

    /// Judges hearing of what happens to keys that match a glob; the glob as the database knows it. What is heard goes through
    /// [`told`](Self::told).
    pub fn observed(&self, glob: Bytes) -> Result<Bytes, Error> {
        if self.all {
            return Ok(glob);
        }
        let read = crate::operation::find("get").filter(|id| self.allows.iter().any(|rule| rule.access.calls.has(*id)));
        match read {
            Some(_) => Ok(self.globbed(glob)),
            None => Err(forbidden("no grant lets the caller see keys".into())),
        }
    }

    fn prefixed(&self, name: Bytes) -> Bytes {
        match &self.prefix {
            Some(prefix) => [&prefix[..], &name].concat().into(),
            None => name,
        }
    }

    fn globbed(&self, glob: Bytes) -> Bytes {
        match &self.prefix {
            Some(prefix) => [&escaped(prefix)[..], &glob].concat().into(),
            None => glob,
        }
    }
}

fn escaped(prefix: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(prefix.len() + 8);
    glob::escape(prefix, &mut escaped);
    escaped
}

fn forbidden(detail: String) -> Error {
    Error::new(Code::Forbidden, detail)
}

#[cfg(test)]
mod tests;
