//! An issuer's public keys, as a JWKS lists them. Keys that cannot be used, or are for something else, are left out; what a
//! key may verify is decided by what it is, not by what a token says.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::signature::{RsaPublicKeyComponents, UnparsedPublicKey};
use serde::Deserialize;
use serde_json::Value;

use super::{
    Refusal,
    algorithm::{Algorithm, Kind, Method},
    token::Token,
};

/// How many keys a JWKS may have. Issuers have two or three.
pub(super) const MAX_KEYS: usize = 100;

/// How many bits an RSA key may have: fewer can be broken, more are slow to verify by.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The keys of an issuer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Keys(Vec<Key>);

#[derive(Debug, PartialEq, Eq)]
struct Key {
    id: Option<String>,
    /// The only algorithm that it is for, if its issuer says so.
    only: Option<Algorithm>,
    kind: Kind,
    /// The modulus of an RSA key, the point of any other.
    public: Vec<u8>,
    /// The exponent of an RSA key.
    exponent: Vec<u8>,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Keys {
    /// Reads a JWKS. One without keys is believed; one that only has keys of no use is a mistake.
    pub(super) fn parse(json: &[u8]) -> Result<Self, String> {
        let set: Set = serde_json::from_slice(json).map_err(|_| "is no JWKS, a JSON object with a list `keys`")?;
        if set.keys.len() > MAX_KEYS {
            return Err(format!("has {} keys, more than {MAX_KEYS}", set.keys.len()));
        }
        let given = set.keys.len();
        let keys: Vec<_> = set.keys.into_iter().filter_map(|key| Key::of(serde_json::from_value(key).ok()?)).collect();
        if keys.is_empty() && given > 0 {
            return Err("has no key for verifying that could be used: RSA of 2048 to 8192 bits, P-256, P-384 or Ed25519".into());
        }
        Ok(Self(keys))
    }

    /// Whether there is a key that may have signed the token.
    pub(super) fn has(&self, token: &Token<'_>) -> bool {
        self.named(token).next().is_some()
    }

    fn named(&self, token: &Token<'_>) -> impl Iterator<Item = &Key> {
        let id = token.key_id.clone();
        self.0.iter().filter(move |key| id.is_none() || key.id == id)
    }

    /// Holds a token to the key that it names, or to the only one there is for its algorithm.
    pub(super) fn verify(&self, token: &Token<'_>) -> Result<(), Refusal> {
        let mut fitting = self.named(token).filter(|key| key.fits(token.algorithm));
        match (fitting.next(), fitting.next()) {
            (None, _) if self.has(token) => Err(Refusal::UnfitKey),
            (None, _) => Err(Refusal::UnknownKey),
            (Some(_), Some(_)) if token.key_id.is_none() => Err(Refusal::NoKeyId),
            (Some(key), _) if key.signed(token) => Ok(()),
            (Some(_), _) => Err(Refusal::BadSignature),
        }
    }
}

impl Key {
    /// The key, if it is one to verify by.
    fn of(jwk: Jwk) -> Option<Self> {
        let only = match &jwk.alg {
            None => None,
            Some(name) => Some(Algorithm::named(name)?),
        };
        let is_to_verify = jwk.purpose.is_none_or(|purpose| purpose == "sig")
            && jwk.key_ops.is_none_or(|operations| operations.iter().any(|operation| operation == "verify"));
        let bytes = |text: Option<String>| BASE64_URL_SAFE_NO_PAD.decode(text?).ok();
        let coordinate = |text, length| bytes(text).filter(|bytes| bytes.len() == length);
        let point = |x, y, length| Some([vec![4], coordinate(x, length)?, coordinate(y, length)?].concat());
        let (kind, public, exponent) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => {
                let (modulus, exponent) = (number(bytes(jwk.n)?), number(bytes(jwk.e)?));
                let bits = modulus.len() * 8 - modulus.first()?.leading_zeros() as usize;
                (RSA_BITS.contains(&bits) && !exponent.is_empty()).then_some((Kind::Rsa, modulus, exponent))?
            }
            ("EC", Some("P-256")) => (Kind::P256, point(jwk.x, jwk.y, 32)?, Vec::new()),
            ("EC", Some("P-384")) => (Kind::P384, point(jwk.x, jwk.y, 48)?, Vec::new()),
            ("OKP", Some("Ed25519")) => (Kind::Ed25519, coordinate(jwk.x, 32)?, Vec::new()),
            _ => return None,
        };
        let key = Self { id: jwk.kid, only, kind, public, exponent };
        (is_to_verify && only.is_none_or(|only| only.kind() == kind)).then_some(key)
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        self.kind == algorithm.kind() && self.only.is_none_or(|only| only == algorithm)
    }

    fn signed(&self, token: &Token<'_>) -> bool {
        let verified = match token.algorithm.method() {
            Method::Rsa(method) => {
                RsaPublicKeyComponents { n: &self.public, e: &self.exponent }.verify(method, token.message, &token.signature)
            }
            Method::Other(method) => UnparsedPublicKey::new(method, &self.public).verify(token.message, &token.signature),
        };
        verified.is_ok()
    }
}

/// A number without the zeros that some issuers write before it.
fn number(mut bytes: Vec<u8>) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.drain(..zeros);
    bytes
}
