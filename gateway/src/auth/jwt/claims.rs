//! What a verified token has to claim, and what follows from it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dbx_crds::config::Jwt;
use serde_json::Value;

use super::{Proved, Refusal, token::Object};

/// The audience, unless the configuration names one.
const AUDIENCE: &str = "dbx";
/// How far clocks may differ, unless the configuration says it.
const LEEWAY: Duration = Duration::from_secs(30);
/// The claim that names the caller, unless the configuration names one.
const IDENTITY: &str = "sub";
/// The longest name of a caller or a group, in bytes: that of a grant.
const MAX_NAME: usize = 256;
/// The end of the year 9999, in seconds since 1970. Later times are mistakes, such as milliseconds.
const LAST_SECOND: f64 = 253_402_300_799.0;
/// What stands before the namespace and name of a ServiceAccount.
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// What an issuer's tokens have to claim.
pub(super) struct Expected {
    audience: String,
    leeway: Duration,
    caller: Caller,
}

/// Where a token says who shows it.
enum Caller {
    Claims { identity: String, groups: Option<String> },
    ServiceAccount,
}

impl Expected {
    /// What the configuration expects.
    pub(super) fn new(config: &Jwt) -> Self {
        let caller = if config.kubernetes.is_some() {
            Caller::ServiceAccount
        } else {
            let identity = config.identity_claim.clone().unwrap_or_else(|| IDENTITY.into());
            Caller::Claims { identity, groups: config.groups_claim.clone() }
        };
        Self {
            audience: config.audience.clone().unwrap_or_else(|| AUDIENCE.into()),
            leeway: config.leeway.as_ref().map_or(LEEWAY, |leeway| leeway.value()),
            caller,
        }
    }

    /// Holds verified claims to what is expected.
    pub(super) fn prove(&self, claims: &Object, now: SystemTime) -> Result<Proved, Refusal> {
        let latest = now + self.leeway;
        let until = time(claims, "exp")?.ok_or_else(|| missing("exp"))? + self.leeway;
        if now >= until {
            return Err(Refusal::Expired);
        }
        let is_early = |name| Ok(time(claims, name)?.is_some_and(|time| time > latest));
        if is_early("nbf")? || is_early("iat")? {
            return Err(Refusal::NotYetValid);
        }
        if !texts(claims, "aud")?.ok_or_else(|| missing("aud"))?.contains(&self.audience.as_str()) {
            return Err(Refusal::WrongAudience);
        }
        let (name, groups) = match &self.caller {
            Caller::Claims { identity, groups } => {
                let groups = groups.as_deref().map_or(Ok(Vec::new()), |claim| group_names(claims, claim))?;
                (format!("jwt:{}", caller_name(claims, identity)?), groups)
            }
            Caller::ServiceAccount => {
                let name = service_account(caller_name(claims, IDENTITY)?).ok_or_else(|| invalid(IDENTITY))?;
                (name, Vec::new())
            }
        };
        Ok(Proved { name, groups, until })
    }
}

fn missing(claim: &str) -> Refusal {
    Refusal::MissingClaim(claim.to_owned().into())
}

fn invalid(claim: &str) -> Refusal {
    Refusal::InvalidClaim(claim.to_owned().into())
}

/// A time, in seconds since 1970, with or without a fraction.
fn time(claims: &Object, claim: &str) -> Result<Option<SystemTime>, Refusal> {
    let Some(value) = claims.0.get(claim) else { return Ok(None) };
    let seconds = value.as_f64().filter(|seconds| (0.0..=LAST_SECOND).contains(seconds)).ok_or_else(|| invalid(claim))?;
    Ok(Some(UNIX_EPOCH + Duration::from_secs_f64(seconds)))
}

/// A text, or a list of texts.
fn texts<'c>(claims: &'c Object, claim: &str) -> Result<Option<Vec<&'c str>>, Refusal> {
    let texts = match claims.0.get(claim) {
        None => return Ok(None),
        Some(Value::String(text)) => Some(vec![text.as_str()]),
        Some(Value::Array(list)) => list.iter().map(Value::as_str).collect(),
        Some(_) => None,
    };
    texts.map(Some).ok_or_else(|| invalid(claim))
}

/// Whether grants can name it, and logs show it on one line.
fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len()) && !text.contains(char::is_control)
}

fn caller_name<'c>(claims: &'c Object, claim: &str) -> Result<&'c str, Refusal> {
    let value = claims.0.get(claim).ok_or_else(|| missing(claim))?;
    value.as_str().filter(|name| is_name(name)).ok_or_else(|| invalid(claim))
}

fn group_names(claims: &Object, claim: &str) -> Result<Vec<String>, Refusal> {
    let names = texts(claims, claim)?.unwrap_or_default().into_iter();
    names.map(|name| is_name(name).then(|| format!("group:{name}")).ok_or_else(|| invalid(claim))).collect()
}

/// `serviceaccount:shop/cart` for `system:serviceaccount:shop:cart`.
fn service_account(subject: &str) -> Option<String> {
    let (namespace, name) = subject.strip_prefix(SERVICE_ACCOUNT)?.split_once(':')?;
    let of_kubernetes = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
    let is_name = |text: &str| !text.is_empty() && text.bytes().all(of_kubernetes);
    (is_name(namespace) && is_name(name)).then(|| format!("serviceaccount:{namespace}/{name}"))
}
