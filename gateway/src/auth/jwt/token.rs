//! A token taken apart. Nothing of it is believed here, and what can be read in two ways is not read at all.

use std::fmt;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::{Map, Value};

use super::{Refusal, algorithm::Algorithm};

/// The longest token that is looked at, in bytes.
pub(super) const MAX_BYTES: usize = 8 << 10;

/// A token's parts.
pub(super) struct Token<'t> {
    /// How it says it is signed.
    pub(super) algorithm: Algorithm,
    /// The key by which it says it is signed.
    pub(super) key_id: Option<String>,
    /// What it claims.
    pub(super) claims: Object,
    /// What is signed.
    pub(super) message: &'t [u8],
    /// The signature.
    pub(super) signature: Vec<u8>,
}

impl<'t> Token<'t> {
    /// Takes a token apart.
    pub(super) fn parse(text: &'t str) -> Result<Self, Refusal> {
        if text.len() > MAX_BYTES {
            return Err(Refusal::Malformed("is too long"));
        }
        let mut parts = text.split('.');
        let (Some(header), Some(claims), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(Refusal::Malformed("does not have three parts"));
        };
        let message = &text.as_bytes()[..header.len() + 1 + claims.len()];
        let header = object(header)?;
        if header.0.contains_key("crit") {
            return Err(Refusal::CriticalHeader);
        }
        let algorithm = header.text("alg").and_then(Algorithm::named).ok_or(Refusal::UnsupportedAlgorithm)?;
        let key_id = match header.0.get("kid") {
            None => None,
            Some(Value::String(id)) => Some(id.clone()),
            Some(_) => return Err(Refusal::Malformed("names its key by something that is no text (kid)")),
        };
        Ok(Self { algorithm, key_id, claims: object(claims)?, message, signature: bytes(signature)? })
    }

    /// Who it says has issued it.
    pub(super) fn issuer(&self) -> Result<&str, Refusal> {
        let issuer = self.claims.0.get("iss").ok_or(Refusal::MissingClaim("iss".into()))?;
        issuer.as_str().ok_or(Refusal::InvalidClaim("iss".into()))
    }
}

fn bytes(part: &str) -> Result<Vec<u8>, Refusal> {
    BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| Refusal::Malformed("is not written in base64url"))
}

fn object(part: &str) -> Result<Object, Refusal> {
    serde_json::from_slice(&bytes(part)?).map_err(|_| Refusal::Malformed("has a part that is no JSON object of distinct names"))
}

/// A JSON object that has each name once.
pub(super) struct Object(pub(super) Map<String, Value>);

impl Object {
    /// The text of that name, if it is one.
    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Distinct;

        impl<'de> Visitor<'de> for Distinct {
            type Value = Object;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Object, A::Error> {
                let mut map = Map::new();
                while let Some((name, value)) = entries.next_entry::<String, Value>()? {
                    if map.insert(name, value).is_some() {
                        return Err(A::Error::custom("a name stands twice"));
                    }
                }
                Ok(Object(map))
            }
        }

        deserializer.deserialize_map(Distinct)
    }
}
