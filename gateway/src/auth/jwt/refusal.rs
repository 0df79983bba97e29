//! Why a token is not believed. None of it holds the token, or more of it than the name of a claim.

use std::{borrow::Cow, fmt};

/// Why a token is not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is no JWT; the text says what is wrong with it.
    Malformed(&'static str),
    /// It is signed in a way that is not believed, or not at all.
    UnsupportedAlgorithm,
    /// Its header asks for extensions (`crit`).
    CriticalHeader,
    /// It has no such claim.
    MissingClaim(Cow<'static, str>),
    /// A claim cannot have the value it has.
    InvalidClaim(Cow<'static, str>),
    /// Nobody believes its issuer here.
    UnknownIssuer,
    /// Its issuer has no key of that id.
    UnknownKey,
    /// It does not say which of several keys signed it.
    NoKeyId,
    /// The key that it names is for other algorithms.
    UnfitKey,
    /// The key that it names did not sign it.
    BadSignature,
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotYetValid,
    /// It is for others.
    WrongAudience,
    /// The issuer's keys are not known and cannot be had now.
    KeysUnavailable,
}

impl Refusal {
    /// Whether the same token may be believed a little later.
    pub fn is_temporary(&self) -> bool {
        *self == Self::KeysUnavailable
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) => write!(formatter, "the token {what}"),
            Self::UnsupportedAlgorithm => {
                formatter.write_str("the token's algorithm is not believed; these are: RS256 to RS512, PS256 to PS512, ES256, ES384, EdDSA")
            }
            Self::CriticalHeader => formatter.write_str("the token's header asks for extensions (crit), and none is known"),
            Self::MissingClaim(name) => write!(formatter, "the token has no claim {name}"),
            Self::InvalidClaim(name) => write!(formatter, "the token's claim {name} has a value that it cannot have"),
            Self::UnknownIssuer => formatter.write_str("the token's issuer (iss) is not believed here"),
            Self::UnknownKey => formatter.write_str("the token's key (kid) is none of its issuer's"),
            Self::NoKeyId => formatter.write_str("the token does not say which of its issuer's keys signed it (kid)"),
            Self::UnfitKey => formatter.write_str("the token's key (kid) is not for its algorithm"),
            Self::BadSignature => formatter.write_str("the token's signature is not right"),
            Self::Expired => formatter.write_str("the token has expired"),
            Self::NotYetValid => formatter.write_str("the token is not valid yet"),
            Self::WrongAudience => formatter.write_str("the token is for another audience (aud)"),
            Self::KeysUnavailable => formatter.write_str("the keys of the token's issuer cannot be had now"),
        }
    }
}

impl std::error::Error for Refusal {}
