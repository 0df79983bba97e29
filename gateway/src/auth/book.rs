//! The keys of one file, as calls look them up.

use std::{collections::HashMap, sync::Arc, time::SystemTime};

use dbx_crds::api_key::file::{Fingerprint, Key, KeyFile, State, revision};
use subtle::ConstantTimeEq;

use super::{Identity, roster::Roster};

/// Mistakes that are told of a file.
const TOLD: usize = 3;

/// The keys of a file.
#[derive(Debug, Default)]
pub(super) struct Book {
    keys: HashMap<String, Entry>,
    /// The first 16 hexadecimal digits of the SHA-256 of the file.
    pub(super) revision: String,
}

#[derive(Debug)]
struct Entry {
    key: Key,
    identity: Arc<Identity>,
}

/// What is known of a key that was shown.
#[derive(Debug)]
pub(super) enum Found {
    /// It is taken.
    Caller(Arc<Identity>),
    /// It is right and not taken.
    Refused(State),
}

impl Book {
    /// Reads a file. Who holds a key that has not changed stays who it is, and the others of the book before are withdrawn.
    ///
    /// Errors: why the file cannot be used, without a key's text.
    pub(super) fn read(text: &str, roster: &Roster, before: Option<&Self>) -> Result<Self, String> {
        let file = KeyFile::read(text).map_err(|mistakes| {
            let more = mistakes.len().saturating_sub(TOLD);
            let told: Vec<_> = mistakes.iter().take(TOLD).map(|mistake| format!("{}: {}", mistake.path, mistake.message)).collect();
            let more = if more > 0 { format!(", and {more} more") } else { String::new() };
            told.join("; ").trim_start_matches(": ").to_owned() + &more
        })?;
        let mut keys = HashMap::with_capacity(file.keys.len());
        for key in file.keys {
            let known = before.and_then(|book| book.keys.get(&key.id)).filter(|entry| entry.key == key);
            let identity = match known {
                Some(entry) => entry.identity.clone(),
                None => match roster.identity(key.identity(), Vec::new(), key.expires.map(|time| time.value()), &key.grants) {
                    Ok(identity) => identity,
                    Err(reason) => {
                        // One that cannot be used does not take the others with it.
                        tracing::warn!(id = key.id, name = key.name, reason, "auth.keysFrom: a key is not taken");
                        continue;
                    }
                },
            };
            keys.insert(key.id.clone(), Entry { key, identity });
        }
        for (id, entry) in before.into_iter().flat_map(|book| &book.keys) {
            if keys.get(id).is_none_or(|kept| !Arc::ptr_eq(&kept.identity, &entry.identity)) {
                entry.identity.withdraw();
            }
        }
        Ok(Self { keys, revision: revision(text) })
    }

    /// Looks up a key by its id, and compares the hash of what was shown. Both take their time whether there is such a key or not.
    pub(super) fn find(&self, id: &str, shown: &Fingerprint, now: SystemTime) -> Option<Found> {
        let entry = self.keys.get(id);
        let expected = entry.map_or(&[0; 32], |entry| entry.key.sha256.bytes());
        let is_right = bool::from(shown.bytes().ct_eq(expected));
        let entry = entry.filter(|_| is_right)?;
        Some(match entry.key.state(now) {
            State::Valid => Found::Caller(entry.identity.clone()),
            state => Found::Refused(state),
        })
    }
}
