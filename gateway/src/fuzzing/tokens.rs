//! Credentials as strangers show them.

use std::{fs, time::SystemTime};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use dbx_crds::{
    api_key::token,
    config::{Jwt, SecretSource},
};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::line;
use crate::auth::jwt::{Issuers, Proved};

const ISSUER: &str = "https://id.example";
/// What the issuer's key is made of. It is good for nothing else.
const SEED: [u8; 32] = [7; 32];

thread_local! {
    static TRUSTED: Trusted = Trusted::new();
}

/// Inputs: what follows, a line end, and it. `key`: a text that may hold keys; `token`: a token; `signed`: a header, a line end and
/// claims, of which a token is made that the issuer has signed; `jwks`: keys of an issuer. Nobody but the issuer proves anything,
/// and only what it signed as it has to; no key is told.
pub fn tokens(data: &[u8]) {
    let (kind, rest) = line(data);
    let text = String::from_utf8_lossy(rest);
    match kind.first() {
        Some(b's') => signed(rest),
        Some(b't') => TRUSTED.with(|trusted| assert_eq!(trusted.verify(&text), None)),
        Some(b'j') => TRUSTED.with(|trusted| trusted.learn(rest)),
        _ => keys(&text),
    }
}

fn keys(text: &str) {
    if let Some(id) = token::parse(text) {
        assert_eq!(token::redact(text), format!("dbx_{id}_***"));
    }
    let told = token::redact(text);
    for start in 0..text.len() {
        let found = text.get(start..start + token::LENGTH).filter(|key| token::parse(key).is_some());
        assert!(found.is_none_or(|key| !told.contains(key)));
    }
}

fn signed(rest: &[u8]) {
    let (header, claims) = line(rest);
    let message = format!("{}.{}", BASE64_URL_SAFE_NO_PAD.encode(header), BASE64_URL_SAFE_NO_PAD.encode(claims));
    TRUSTED.with(|trusted| {
        let signature = BASE64_URL_SAFE_NO_PAD.encode(trusted.pair.sign(message.as_bytes()));
        let Some(proved) = trusted.verify(&format!("{message}.{signature}")) else { return };
        let read = |part| serde_json::from_slice::<Value>(part).expect("it was believed");
        let (header, claims) = (read(header), read(claims));
        assert_eq!(header["alg"], "EdDSA");
        assert_eq!(header.get("crit"), None);
        assert_eq!(claims["iss"], ISSUER);
        assert!(claims["aud"] == "dbx" || claims["aud"].as_array().is_some_and(|all| all.contains(&json!("dbx"))));
        assert_eq!(proved.name, format!("jwt:{}", claims["sub"].as_str().unwrap_or_default()));
        assert!(proved.groups.iter().all(|group| group.starts_with("group:")));
        assert!(proved.groups.iter().chain([&proved.name]).all(|name| !name.contains(char::is_control)));
        assert!(proved.until > SystemTime::now());
    });
}

/// An issuer that is believed.
struct Trusted {
    runtime: Runtime,
    pair: Ed25519KeyPair,
    issuers: Issuers,
    folder: tempfile::TempDir,
}

impl Trusted {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("there is room for one");
        let pair = Ed25519KeyPair::from_seed_unchecked(&SEED).expect("it has the right length");
        let folder = tempfile::tempdir().expect("there is room for one");
        let public = BASE64_URL_SAFE_NO_PAD.encode(pair.public_key());
        let jwks = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": "a", "x": public }] });
        let issuers = issuers(&folder, "known", jwks.to_string().as_bytes(), &runtime).expect("the keys are sound");
        Self { runtime, pair, issuers, folder }
    }

    fn verify(&self, token: &str) -> Option<Proved> {
        self.runtime.block_on(self.issuers.verify(token)).ok()
    }

    fn learn(&self, jwks: &[u8]) {
        if let Err(message) = issuers(&self.folder, "new", jwks, &self.runtime) {
            assert!(message.starts_with("auth.jwt[0].jwksFrom"), "{message}");
        }
    }
}

fn issuers(folder: &tempfile::TempDir, name: &str, jwks: &[u8], runtime: &Runtime) -> Result<Issuers, String> {
    let file = folder.path().join(name);
    fs::write(&file, jwks).expect("there is room for it");
    let source = SecretSource { file: Some(file.to_string_lossy().into_owned()), ..SecretSource::default() };
    let groups_claim = Some("groups".to_owned());
    let config = Jwt { issuer: Some(ISSUER.to_owned()), jwks_from: Some(source), groups_claim, ..Jwt::default() };
    Issuers::new(&[config], folder.path(), runtime.handle())
}
