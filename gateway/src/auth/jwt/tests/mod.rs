//! Tokens signed by real keys, and issuers that are real servers on this machine.

mod attacks;
mod claims;
mod cluster;
mod fetching;
mod keys;
mod server;
mod signer;

use std::{
    fs,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use dbx_crds::config::{Jwt, SecretSource};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use self::signer::Signer;
use super::{Cluster, Issuers, Pace, Proved, Refusal};

const ISSUER: &str = "https://id.example.com";

/// The time at which tokens are shown.
fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// `now`, as a token says it.
fn seconds(later: i64) -> i64 {
    1_800_000_000 + later
}

/// What a token in order claims, with some of it said otherwise; `null` leaves it out.
fn claims(changes: Value) -> Value {
    let mut claims = json!({ "iss": ISSUER, "aud": "dbx", "sub": "alice", "exp": seconds(60) });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    claims
}

fn set(signers: &[&Signer]) -> Value {
    json!({ "keys": signers.iter().map(|signer| signer.jwk()).collect::<Vec<_>>() })
}

/// An issuer whose keys are in a file.
fn issuer(jwks: &Value) -> (Jwt, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, jwks.to_string()).unwrap();
    let source = SecretSource { file: Some(file.path().display().to_string()), ..SecretSource::default() };
    (Jwt { issuer: Some(ISSUER.into()), jwks_from: Some(source), ..Jwt::default() }, file)
}

fn open(config: &[Jwt]) -> Result<Issuers, String> {
    let cluster = Cluster { address: "https://127.0.0.1:1".into(), directory: "/nonexistent".into() };
    Issuers::with(config, "/nonexistent".as_ref(), &Handle::current(), &cluster, Pace::default())
}

fn issuers(jwks: &Value) -> Issuers {
    open(&[issuer(jwks).0]).unwrap()
}

/// Holds a token to being refused for that reason.
async fn refused(issuers: &Issuers, token: &str, expected: Refusal) {
    assert_eq!(issuers.verify_at(token, now()).await, Err(expected), "{token}");
}

/// Holds a token to being believed.
async fn proved(issuers: &Issuers, token: &str) -> Proved {
    issuers.verify_at(token, now()).await.unwrap_or_else(|refusal| panic!("{refusal}: {token}"))
}
