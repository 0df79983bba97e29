//! The file of keys: what a gateway knows of each, which is all but its text. `dbx-gateway keys` and the operator write it.

use std::{collections::HashSet, fmt, str::FromStr, time::SystemTime};

use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest, Sha256};

use super::{time::Time, token};
use crate::config::{Grant, Invalid, own_grants};

/// Bytes of a file.
pub const MAX_BYTES: usize = 32 << 20;
/// Keys of a file.
pub const MAX_KEYS: usize = 100_000;
/// Bytes of a name or an owner.
pub const MAX_NAME: usize = 200;
/// What precedes the name of a key in its identity.
pub const IDENTITY_PREFIX: &str = "key:";
/// Mistakes that are told of one file.
const MAX_MISTAKES: usize = 100;

/// What a file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFile {
    /// The keys, each with an id of its own.
    #[serde(default, deserialize_with = "list_or_nothing")]
    pub keys: Vec<Key>,
}

/// What is known of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Key {
    /// The id in its text.
    pub id: String,
    /// What its caller is called in grants, after `key:`. Keys that follow one another share it.
    pub name: String,
    /// The SHA-256 of its text.
    pub sha256: Fingerprint,
    /// Who answers for it; a note for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// When it was made.
    pub created: Time,
    /// From when on it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Time>,
    /// It is refused although it is kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
    /// What it may do, beside what `auth.grants` say of its name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<Grant>,
}

/// Whether a key is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is.
    Valid,
    /// Its time is over.
    Expired,
    /// It was disabled.
    Disabled,
}

impl State {
    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Expired => "expired",
            Self::Disabled => "disabled",
        }
    }
}

impl Key {
    /// The identity of whoever shows it.
    pub fn identity(&self) -> String {
        format!("{IDENTITY_PREFIX}{}", self.name)
    }

    /// Whether it is taken at that time.
    pub fn state(&self, now: SystemTime) -> State {
        if self.disabled {
            State::Disabled
        } else if self.expires.is_some_and(|end| end.value() <= now) {
            State::Expired
        } else {
            State::Valid
        }
    }

    /// Its mistakes, but for those that only a configuration can tell.
    pub fn validate(&self, path: &str) -> Vec<Invalid> {
        let mut mistakes = Vec::new();
        let mut refuse = |field: &str, message: String| mistakes.push(Invalid { path: format!("{path}.{field}"), message });
        if !token::is_id(&self.id) {
            refuse("id", format!("expected {} lower-case hexadecimal digits", token::ID_LENGTH));
        }
        if !is_name(&self.name) {
            refuse("name", format!("expected 1 to {MAX_NAME} letters, digits and `.`, `_`, `-`, `/`"));
        }
        if self.owner.as_ref().is_some_and(|owner| !(1..=MAX_NAME).contains(&owner.len()) || owner.chars().any(char::is_control)) {
            refuse("owner", format!("expected a text of at most {MAX_NAME} bytes on one line"));
        }
        // These are shown in logs.
        for (field, text) in [("name", Some(&self.name)), ("owner", self.owner.as_ref())] {
            if text.is_some_and(|text| token::redact(text) != *text) {
                refuse(field, "holds the text of a key, which is to be stored nowhere".into());
            }
        }
        mistakes.extend(own_grants(&self.grants, path));
        mistakes
    }
}

impl KeyFile {
    /// Reads a file, YAML or JSON. What grants say of databases and their users is for
    /// [`crate::config::GatewayConfig::validate_grants`] to judge. No message holds a key's text.
    pub fn read(text: &str) -> Result<Self, Vec<Invalid>> {
        let whole = |message: String| vec![Invalid { path: String::new(), message }];
        if text.len() > MAX_BYTES {
            return Err(whole(format!("expected at most {MAX_BYTES} bytes, found {}", text.len())));
        }
        let file: Option<Self> = serde_yaml::from_str(text).map_err(|error| whole(token::redact(&error.to_string())))?;
        let file = file.unwrap_or_default();
        let mistakes = file.validate();
        if mistakes.is_empty() { Ok(file) } else { Err(mistakes) }
    }

    fn validate(&self) -> Vec<Invalid> {
        if self.keys.len() > MAX_KEYS {
            return vec![Invalid { path: "keys".into(), message: format!("expected at most {MAX_KEYS} keys, found {}", self.keys.len()) }];
        }
        let mut ids = HashSet::new();
        let mut mistakes = Vec::new();
        for (index, key) in self.keys.iter().enumerate() {
            let path = format!("keys[{index}]");
            let own = key.validate(&path);
            if own.is_empty() && !ids.insert(&key.id) {
                mistakes.push(Invalid { path: format!("{path}.id"), message: format!("{} is used twice", key.id) });
            }
            mistakes.extend(own);
            if mistakes.len() >= MAX_MISTAKES {
                break;
            }
        }
        mistakes
    }
}

/// What is compared with the hash of a key that is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// That of a key's text.
    pub fn of(text: &str) -> Self {
        Self(token::hash(text))
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for Fingerprint {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        token::unhex(text).map(Self).ok_or("expected the SHA-256 of a key's text: 64 lower-case hexadecimal digits")
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&token::hex(&self.0))
    }
}

/// What a gateway calls the file that it has read: the first 16 hexadecimal digits of its SHA-256.
pub fn revision(text: &str) -> String {
    token::hex(&Sha256::digest(text.as_bytes())[..8])
}

/// Whether a text can be the name of a key.
pub fn is_name(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'/');
    (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(inner)
}

/// `keys:` with nothing behind it is no keys.
fn list_or_nothing<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Key>, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
