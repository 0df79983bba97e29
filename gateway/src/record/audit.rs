//! The audit log: who did what, a JSON object a line.

use std::{io::Write, net::IpAddr};

use dbx_crds::config::{AuditCalls, AuditKeys, LogFormat};
use sha2::{Digest, Sha256};

use super::{
    Pen,
    line::{Line, quote},
};
use crate::{
    error::{Code, Error},
    operation::Class,
};

const TARGET: &str = "dbx_gateway::audit";
/// So many keys of a call are shown; of the others, how many they are.
const MOST_KEYS: usize = 8;
/// So much of a key is shown as it is.
const MOST_KEY_BYTES: usize = 256;
/// So much of a key's SHA-256 is shown.
const HASH_BYTES: usize = 16;
/// What became of a call whose caller went away before its answer.
const UNKNOWN: &str = "unknown";

/// The audit log of one worker.
pub struct Audit {
    pen: Pen,
    calls: AuditCalls,
    keys: AuditKeys,
}

/// Who makes a call.
#[derive(Clone, Copy)]
pub struct Who<'a> {
    /// The id of the request, or of the socket.
    pub id: &'a str,
    /// The caller, if a credential was accepted or none is asked for.
    pub identity: Option<&'a str>,
    /// The address that it calls from.
    pub client: Option<IpAddr>,
}

/// Whether a request was refused for want of a right or a credential.
pub fn is_denial(code: Code) -> bool {
    matches!(code.status(), 401 | 403)
}

impl Audit {
    pub(super) fn new(pen: Pen, calls: AuditCalls, keys: AuditKeys) -> Self {
        Self { pen, calls, keys }
    }

    /// Whether calls of a class are recorded whatever becomes of them.
    pub fn wants(&self, class: Class) -> bool {
        match self.calls {
            AuditCalls::All => true,
            AuditCalls::Admin => class == Class::Admin,
            AuditCalls::Denied | AuditCalls::None => false,
        }
    }

    /// Begins the record of a call. The names are those of keys, channels and patterns, as the caller knows them.
    pub fn begin(&self, who: Who<'_>, database: &str, operation: &str, names: &[&[u8]]) -> Trail {
        let mut text = Vec::with_capacity(384);
        let mut line = self.line(&mut text, who);
        line.text("database", database);
        line.text("operation", operation);
        let more = names.len().saturating_sub(MOST_KEYS);
        if self.keys != AuditKeys::None && !names.is_empty() {
            line.list("keys", names.iter().take(MOST_KEYS), |out, key| self.key(out, key));
            if more > 0 {
                line.number("moreKeys", more as u64);
            }
        }
        Trail(Some(Box::new(Open { pen: self.pen.clone(), text })))
    }

    /// Records a request that was refused before it was known what it calls.
    pub fn refused(&self, who: Who<'_>, path: &str, code: Code) {
        let mut text = Vec::with_capacity(256);
        self.line(&mut text, who).text("path", path);
        Trail(Some(Box::new(Open { pen: self.pen.clone(), text }))).end(Some(code));
    }

    fn line<'o>(&self, out: &'o mut Vec<u8>, who: Who<'_>) -> Line<'o> {
        let mut line = Line::begin(out, LogFormat::Json, TARGET, "call");
        line.text("request", who.id);
        if let Some(identity) = who.identity {
            line.text("identity", identity);
        }
        if let Some(client) = who.client {
            line.address("client", client);
        }
        line
    }

    fn key(&self, out: &mut Vec<u8>, key: &[u8]) {
        if self.keys == AuditKeys::Hash {
            out.push(b'"');
            for byte in &Sha256::digest(key)[..HASH_BYTES] {
                // Writing to memory does not fail.
                let _ = write!(out, "{byte:02x}");
            }
            out.push(b'"');
            return;
        }
        match key.split_at_checked(MOST_KEY_BYTES) {
            Some((start, rest)) if !rest.is_empty() => quote(out, &format!("{}…", String::from_utf8_lossy(start))),
            _ => quote(out, &String::from_utf8_lossy(key)),
        }
    }
}

/// The record of a call that goes on, if there is one. It is written when the call ends, or when nobody waits for it any more.
#[must_use = "a record is written with how its call ended"]
pub struct Trail(Option<Box<Open>>);

struct Open {
    pen: Pen,
    text: Vec<u8>,
}

impl Trail {
    /// Of a call that is not recorded.
    pub const NONE: Self = Self(None);

    /// Writes the record of a call that has ended: with a result, or with an error.
    pub fn end(mut self, code: Option<Code>) {
        self.write(code.map_or("ok", Code::name));
    }

    /// Drops the record of a call that is not made.
    pub fn forget(mut self) {
        self.0 = None;
    }

    /// Goes on with a call that may be made; one that may not has ended.
    pub fn judged<T>(self, outcome: Result<T, Error>) -> Result<(T, Self), Error> {
        match outcome {
            Ok(value) => Ok((value, self)),
            Err(error) => Err(self.refused(error)),
        }
    }

    /// Ends the record of a call that may not be made.
    pub fn refused(self, mut error: Error) -> Error {
        if self.0.is_some() {
            error.recorded = true;
            self.end(Some(error.code));
        }
        error
    }

    fn write(&mut self, outcome: &str) {
        let Some(open) = self.0.take() else { return };
        let Open { pen, text } = *open;
        pen.line(|out| {
            out.extend_from_slice(&text);
            out.extend_from_slice(b",\"outcome\":\"");
            out.extend_from_slice(outcome.as_bytes());
            out.extend_from_slice(b"\"}");
        });
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        self.write(UNKNOWN);
    }
}
