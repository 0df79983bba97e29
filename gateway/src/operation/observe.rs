//! What happens to keys, as Redis tells it on channels: `__keyspace@0__:cart:1` with the event as its message.

use bytes::Bytes;

use crate::{
    backend::channels::{Kind, Message, Topic},
    error::{Code, Error},
};

/// The setting of the server that decides what it tells.
pub const SETTING: &str = "notify-keyspace-events";

/// What stands before the database's index, and between it and the key.
const PARTS: (&[u8], &[u8]) = (b"__keyspace@", b"__:");

/// What to listen to for events of the keys that match a glob. Indexes of the same server are not told apart.
pub fn topic(glob: &[u8]) -> Topic {
    Topic { kind: Kind::Everywhere, name: Bytes::from([PARTS.0, b"*", PARTS.1, glob].concat()) }
}

/// The glob that matches one key alone.
pub fn escape(key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len());
    for byte in key {
        if matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\' | b'^') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out
}

/// The key and the event that a message tells of.
pub fn read(message: &Message) -> Option<(&[u8], &[u8])> {
    let rest = message.channel.strip_prefix(PARTS.0)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    Some((rest[digits..].strip_prefix(PARTS.1)?, &message.payload))
}

/// Refuses to observe what the server does not tell; `flags` is what its setting says.
pub fn check(flags: &[u8]) -> Result<(), Error> {
    if flags.contains(&b'K') && flags.iter().any(|flag| !matches!(flag, b'K' | b'E')) {
        return Ok(());
    }
    let detail = format!("the server does not tell what happens to keys: its setting {SETTING} needs `K` and a class, such as `KA`");
    Err(Error::new(Code::NotificationsOff, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_keys_are_read() {
        let message = |channel: &'static [u8]| Message {
            channel: Bytes::from_static(channel),
            pattern: None,
            payload: Bytes::from_static(b"set"),
            rendered: Default::default(),
        };
        assert_eq!(read(&message(b"__keyspace@12__:a__:b")), Some((&b"a__:b"[..], &b"set"[..])));
        assert_eq!(read(&message(b"__keyevent@0__:set")), None);
        assert_eq!(escape(b"a*[b]\\"), b"a\\*\\[b\\]\\\\");
        assert_eq!(&topic(b"cart:*").name[..], b"__keyspace@*__:cart:*");
    }

    #[test]
    fn a_server_that_tells_nothing_is_not_observed() {
        for (flags, tells) in [(&b""[..], false), (b"K", false), (b"KE", false), (b"AE", false), (b"AK", true), (b"$K", true)] {
            assert_eq!(check(flags).is_ok(), tells, "{flags:?}");
        }
    }
}
