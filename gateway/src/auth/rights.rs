//! What a caller may do at one database. Every command is judged here once it is encoded, whatever it came as; keys and channels
//! get the caller's prefix here, and lose it in replies.

use bytes::{Bytes, BytesMut};

use crate::{
    error::Error,
    operation::{Id, encode::Plan, param::Role},
};

/// What a caller may do at one database.
#[derive(Debug, Default)]
pub struct Rights {}

impl Rights {
    /// Everything.
    pub fn all() -> Self {
        Self::default()
    }

    /// The place among the database's `users` of the one that its calls go out as.
    pub fn backend_user(&self) -> Option<usize> {
        None
    }

    /// Judges the command that was encoded behind `start`, and puts the prefix before its keys and channels. Without an operation
    /// it is a raw command that no operation has. On an error `command` is as it was.
    ///
    /// Errors: `forbidden`, with `param` where it is about one argument.
    pub fn admit(&self, _operation: Option<Id>, _plan: Option<&Plan>, _command: &mut BytesMut, _start: usize) -> Result<(), Error> {
        Ok(())
    }

    /// Judges what an operation does with one key that is no part of a command yet; the key as the database knows it.
    pub fn key(&self, _operation: Id, _role: Role, key: Bytes) -> Result<Bytes, Error> {
        Ok(key)
    }

    /// Judges listening to a channel; the channel as the database knows it.
    pub fn channel(&self, _operation: Id, channel: Bytes) -> Result<Bytes, Error> {
        Ok(channel)
    }

    /// Judges listening to all channels that match a glob; the glob as the database knows it.
    pub fn pattern(&self, _operation: Id, pattern: Bytes) -> Result<Bytes, Error> {
        Ok(pattern)
    }

    /// Judges hearing of what happens to keys that match a glob; the glob as the database knows it. What is heard goes through
    /// [`told`](Self::told).
    pub fn observed(&self, glob: Bytes) -> Result<Bytes, Error> {
        Ok(glob)
    }

    /// The key of an event as the caller knows it, if it may know of it.
    pub fn told<'k>(&self, key: &'k [u8]) -> Option<&'k [u8]> {
        Some(key)
    }

    /// The name of a channel as the caller knows it.
    pub fn heard<'c>(&self, channel: &'c [u8]) -> &'c [u8] {
        channel
    }

    /// Whether replies are as they are for everybody.
    pub fn sees_all(&self) -> bool {
        true
    }

    /// A reply without the keys that the caller may not know of, and those that it may as it knows them.
    pub fn hide(&self, _operation: Option<Id>, frame: &Bytes) -> Bytes {
        frame.clone()
    }
}
