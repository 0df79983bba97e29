//! The keys of one file, as calls look them up.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use dbx_crds::api_key::{
    Time,
    file::{Fingerprint, Key, KeyFile, State, revision},
};
use serde_json::{Value, json};
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
    /// The minute since 1970 that it was last taken in, of those since this process has known it; 0 if it was not.
    used: AtomicU64,
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
            let told: Vec<_> = mistakes.iter().take(TOLD).map(ToString::to_string).collect();
            let more = if more > 0 { format!(", and {more} more") } else { String::new() };
            told.join("; ") + &more
        })?;
        let mut keys = HashMap::with_capacity(file.keys.len());
        for key in file.keys {
            let old = before.and_then(|book| book.keys.get(&key.id));
            let identity = match old.filter(|entry| entry.key == key) {
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
            let used = old.map_or(0, |entry| entry.used.load(Relaxed));
            keys.insert(key.id.clone(), Entry { key, identity, used: AtomicU64::new(used) });
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
            State::Valid => {
                entry.touch(now);
                Found::Caller(entry.identity.clone())
            }
            state => Found::Refused(state),
        })
    }

    /// What is known of each key, in the order of their names.
    pub(super) fn list(&self, now: SystemTime) -> Vec<Value> {
        let mut entries: Vec<&Entry> = self.keys.values().collect();
        entries.sort_by_key(|entry| (&entry.key.name, entry.key.created, &entry.key.id));
        entries.into_iter().map(|entry| entry.tell(now)).collect()
    }
}

impl Entry {
    /// Notes that it was taken. Most calls write nothing: others look at the same place.
    fn touch(&self, now: SystemTime) {
        let minute = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / 60;
        if self.used.load(Relaxed) != minute {
            self.used.store(minute, Relaxed);
        }
    }

    fn tell(&self, now: SystemTime) -> Value {
        let used = Some(self.used.load(Relaxed)).filter(|minute| *minute > 0);
        let used = used.map(|minute| Time::from(UNIX_EPOCH + Duration::from_secs(60 * minute)));
        json!({
            "id": self.key.id,
            "name": self.key.name,
            "owner": self.key.owner,
            "created": self.key.created,
            "expires": self.key.expires,
            "state": self.key.state(now),
            "lastUsed": used,
        })
    }
}
