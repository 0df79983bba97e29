//! Which keys of a JWKS are used, and for what.

use std::{fs, process::Command};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use serde_json::{Value, json};

use super::{
    super::keys::{Keys, MAX_KEYS},
    Refusal, claims, issuer, issuers, open, proved, refused, set,
    signer::{Signer, message, rsa_key},
};

#[tokio::test]
async fn every_algorithm_is_verified() {
    let mut signers = vec![Signer::es256("es256"), Signer::es384("es384"), Signer::ed25519("ed")];
    for algorithm in ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"] {
        signers.push(Signer::rsa(algorithm, algorithm));
    }
    let issuers = issuers(&set(&signers.iter().collect::<Vec<_>>()));
    for signer in &signers {
        proved(&issuers, &signer.token(&claims(json!({})))).await;
    }
}

#[tokio::test]
async fn a_key_that_is_not_named_is_the_only_one() {
    let (first, second, rsa) = (Signer::es256("a"), Signer::es256("b"), Signer::rsa("c", "RS256"));
    let token = |signer: &Signer| signer.token_with(&json!({ "alg": signer.algorithm }), &claims(json!({})));
    proved(&issuers(&set(&[&first])), &token(&first)).await;
    refused(&issuers(&set(&[&first])), &token(&second), Refusal::BadSignature).await;
    refused(&issuers(&set(&[&first, &second])), &token(&first), Refusal::NoKeyId).await;
    refused(&issuers(&set(&[&first])), &token(&rsa), Refusal::UnfitKey).await;
    // One of each kind is no question.
    proved(&issuers(&set(&[&first, &rsa])), &token(&first)).await;
    proved(&issuers(&set(&[&first, &rsa])), &token(&rsa)).await;
    refused(&issuers(&json!({ "keys": [] })), &token(&first), Refusal::UnknownKey).await;
    refused(&issuers(&json!({ "keys": [] })), &first.token(&claims(json!({}))), Refusal::UnknownKey).await;
}

#[tokio::test]
async fn a_key_is_used_for_what_it_is_for() {
    let (signer, other) = (Signer::rsa("a", "RS256"), Signer::es256("other"));
    let token = signer.token(&claims(json!({})));
    let with = |jwk: Value| issuers(&json!({ "keys": [jwk, other.jwk()] }));
    let good = [
        json!({ "alg": "RS256" }),
        json!({ "use": null }),
        json!({ "key_ops": ["verify"] }),
        json!({ "key_ops": ["sign", "verify"], "use": null }),
        json!({ "x5c": ["MIIB"], "x5t": "a", "anything": 1 }),
        // Some write a number with zeros before it.
        json!({ "e": BASE64.encode([0, 1, 0, 1]) }),
    ];
    for changes in good {
        proved(&with(signer.jwk_with(changes)), &token).await;
    }
    refused(&with(signer.jwk_with(json!({ "alg": "PS256" }))), &token, Refusal::UnfitKey).await;
    let unusable = [
        json!({ "alg": "HS256" }),
        json!({ "alg": "none" }),
        json!({ "alg": "ES256" }),
        json!({ "alg": "RSA-OAEP" }),
        json!({ "alg": 1 }),
        json!({ "use": "enc" }),
        json!({ "use": "" }),
        json!({ "key_ops": [] }),
        json!({ "key_ops": ["encrypt"] }),
        json!({ "key_ops": "verify" }),
        json!({ "kty": "oct", "k": "AAAA" }),
        json!({ "kty": "rsa" }),
        json!({ "kty": "EC", "crv": "P-256" }),
        json!({ "kid": 1 }),
        json!({ "n": null }),
        json!({ "e": "" }),
        json!({ "n": "AAAA" }),
        json!({ "n": "not base64!" }),
    ];
    for changes in unusable {
        refused(&with(signer.jwk_with(changes)), &token, Refusal::UnknownKey).await;
    }
    let (point, ed) = (Signer::es256("a"), Signer::ed25519("a"));
    for jwk in [
        point.jwk_with(json!({ "crv": "P-384" })),
        point.jwk_with(json!({ "crv": "secp256k1" })),
        point.jwk_with(json!({ "x": "AAAA" })),
        point.jwk_with(json!({ "y": null })),
        ed.jwk_with(json!({ "crv": "X25519" })),
        ed.jwk_with(json!({ "crv": "Ed448" })),
        ed.jwk_with(json!({ "x": "AAAA" })),
    ] {
        for signer in [&point, &ed] {
            refused(&with(jwk.clone()), &signer.token(&claims(json!({}))), Refusal::UnknownKey).await;
        }
    }
    // A point that is not on the curve, with a signature that says zero.
    let nowhere = point.jwk_with(json!({ "x": BASE64.encode([1; 32]), "y": BASE64.encode([1; 32]) }));
    refused(&with(nowhere), &point.token(&claims(json!({}))), Refusal::BadSignature).await;
}

#[tokio::test]
async fn a_weak_key_proves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key.pem");
    fs::write(&file, rsa_key(1024)).unwrap();
    let openssl = |arguments: &[&str]| {
        let done = Command::new("openssl").args(arguments).arg(&file).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        done.stdout
    };
    let text = String::from_utf8(openssl(&["rsa", "-noout", "-modulus", "-in"])).unwrap();
    let digits = text.trim().strip_prefix("Modulus=").unwrap();
    let modulus: Vec<_> = (0..digits.len() / 2).map(|byte| u8::from_str_radix(&digits[2 * byte..2 * byte + 2], 16).unwrap()).collect();
    let message = message(r#"{"alg":"RS256","kid":"weak"}"#, &claims(json!({})).to_string());
    let signed = folder.path().join("message");
    fs::write(&signed, &message).unwrap();
    let signature = {
        let mut sign = Command::new("openssl");
        sign.args(["dgst", "-sha256", "-sign"]).arg(&file).arg(&signed);
        sign.output().unwrap().stdout
    };
    assert_eq!(signature.len(), 128);
    let weak = json!({ "kty": "RSA", "kid": "weak", "n": BASE64.encode(&modulus), "e": "AQAB" });
    let token = format!("{message}.{}", BASE64.encode(signature));
    refused(&issuers(&json!({ "keys": [weak, Signer::es256("a").jwk()] })), &token, Refusal::UnknownKey).await;
    // Zeros before it do not make it stronger.
    let longer = json!({ "kty": "RSA", "kid": "weak", "n": BASE64.encode([vec![0; 128], modulus].concat()), "e": "AQAB" });
    refused(&issuers(&json!({ "keys": [longer, Signer::es256("a").jwk()] })), &token, Refusal::UnknownKey).await;
    let file = issuer(&json!({ "keys": [weak] }));
    assert!(open(&[file.0]).err().unwrap().starts_with("auth.jwt[0].jwksFrom: has no key for verifying"));
}

#[test]
fn a_set_is_read_or_refused() {
    let key = Signer::es256("a").jwk();
    for text in ["", "{}", "[]", "null", "{\"keys\":{}}", "{\"keys\":[}", "<html>", "{\"keys\":[]} x"] {
        assert!(Keys::parse(text.as_bytes()).is_err(), "{text}");
    }
    for odd in [json!(1), json!(null), json!([]), json!({})] {
        assert!(Keys::parse(json!({ "keys": [odd, key] }).to_string().as_bytes()).is_ok());
        assert!(Keys::parse(json!({ "keys": [odd] }).to_string().as_bytes()).is_err());
    }
    let many = |count: usize| json!({ "keys": vec![&key; count] }).to_string();
    assert!(Keys::parse(many(MAX_KEYS).as_bytes()).is_ok());
    assert!(Keys::parse(many(MAX_KEYS + 1).as_bytes()).is_err());
}

#[tokio::test]
async fn a_file_is_read_again() {
    let (old, new) = (Signer::es256("old"), Signer::es256("new"));
    let (config, file) = issuer(&set(&[&old]));
    let issuers = open(&[config]).unwrap();
    let (by_old, by_new) = (old.token(&claims(json!({}))), new.token(&claims(json!({}))));
    proved(&issuers, &by_old).await;
    refused(&issuers, &by_new, Refusal::UnknownKey).await;

    fs::write(&file, set(&[&old, &new]).to_string()).unwrap();
    issuers.reload().unwrap();
    proved(&issuers, &by_old).await;
    proved(&issuers, &by_new).await;

    fs::write(&file, "half a fi").unwrap();
    assert!(issuers.reload().unwrap_err().starts_with("auth.jwt[0].jwksFrom: is no JWKS"));
    proved(&issuers, &by_old).await;

    // After the rotation a replay by the old key is over.
    fs::write(&file, set(&[&new]).to_string()).unwrap();
    issuers.reload().unwrap();
    refused(&issuers, &by_old, Refusal::UnknownKey).await;
    proved(&issuers, &by_new).await;

    fs::remove_file(&file).unwrap();
    assert!(issuers.reload().is_err());
    proved(&issuers, &by_new).await;
}

#[tokio::test]
async fn what_cannot_be_read_at_the_start_is_said() {
    let (config, file) = issuer(&json!({ "keys": "none" }));
    assert!(open(std::slice::from_ref(&config)).err().unwrap().starts_with("auth.jwt[0].jwksFrom: is no JWKS"));
    drop(file);
    assert!(open(std::slice::from_ref(&config)).err().unwrap().starts_with("auth.jwt[0].jwksFrom: cannot read"));
    let url = dbx_crds::config::Jwt {
        jwks_url: Some("https://id.example.com/keys".into()),
        ca_from: config.jwks_from.clone(),
        jwks_from: None,
        ..config
    };
    assert!(open(&[url]).err().unwrap().starts_with("auth.jwt[0].caFrom: cannot read"));
}
