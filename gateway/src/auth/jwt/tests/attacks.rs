//! Tokens that are made to be believed and must not be.

use base64::{Engine, prelude::BASE64_STANDARD, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use ring::signature::KeyPair;
use serde_json::json;

use super::{
    super::token,
    ISSUER, Refusal, claims, issuers, proved, refused, set,
    signer::{Key, Signer, hmac_token, message},
};

#[tokio::test]
async fn no_signature_is_none_at_all() {
    let signer = Signer::es256("a");
    let issuers = issuers(&set(&[&signer]));
    for name in ["none", "None", "NONE", "nOnE", "", "RS256 ", "es256", "HS256", "HS384", "HS512", "ES256K", "ES512", "RSA-OAEP", "dir"] {
        let header = json!({ "alg": name, "kid": "a" });
        let unsigned = message(&header.to_string(), &claims(json!({})).to_string());
        refused(&issuers, &format!("{unsigned}."), Refusal::UnsupportedAlgorithm).await;
        // The signature is right; what is not believed is the name.
        refused(&issuers, &signer.token_with(&header, &claims(json!({}))), Refusal::UnsupportedAlgorithm).await;
    }
    for alg in [json!(null), json!(1), json!(["ES256"]), json!({ "alg": "ES256" })] {
        refused(&issuers, &signer.token_with(&json!({ "alg": alg, "kid": "a" }), &claims(json!({}))), Refusal::UnsupportedAlgorithm).await;
    }
    refused(&issuers, &signer.token_with(&json!({ "kid": "a" }), &claims(json!({}))), Refusal::UnsupportedAlgorithm).await;
}

#[tokio::test]
async fn no_public_key_is_a_secret() {
    let signer = Signer::rsa("a", "RS256");
    let Key::Rsa(key) = &signer.key else { unreachable!() };
    let der = key.public_key().as_ref();
    let base64 = BASE64_STANDARD.encode(der);
    let pem = format!("-----BEGIN RSA PUBLIC KEY-----\n{base64}\n-----END RSA PUBLIC KEY-----\n");
    let modulus = BASE64.decode(signer.jwk()["n"].as_str().unwrap()).unwrap();
    let (jwk, empty) = (signer.jwk().to_string(), Vec::new());
    let header = json!({ "alg": "HS256", "kid": "a" });
    // Neither with the key as it is, nor where the issuer itself seems to say that it is for HMAC.
    let symmetric = json!({ "kty": "oct", "kid": "a", "alg": "HS256", "k": BASE64.encode(der) });
    let sets = [set(&[&signer]), json!({ "keys": [symmetric, signer.jwk()] }), json!({ "keys": [symmetric, Signer::es256("b").jwk()] })];
    for set in sets {
        let issuers = issuers(&set);
        for secret in [der, pem.as_bytes(), pem.trim_end().as_bytes(), &modulus, jwk.as_bytes(), &empty] {
            refused(&issuers, &hmac_token(&header, &claims(json!({})), secret), Refusal::UnsupportedAlgorithm).await;
        }
    }
}

#[tokio::test]
async fn a_key_is_for_its_own_algorithms() {
    let (p256, p384, rsa, ed) = (Signer::es256("p256"), Signer::es384("p384"), Signer::rsa("rsa", "RS256"), Signer::ed25519("ed"));
    let issuers = issuers(&set(&[&p256, &p384, &rsa, &ed]));
    let fits = |id: &str, alg: &str| match id {
        "p256" => alg == "ES256",
        "p384" => alg == "ES384",
        "ed" => alg == "EdDSA",
        _ => alg.starts_with("RS") || alg.starts_with("PS"),
    };
    for signer in [&p256, &p384, &rsa, &ed] {
        for alg in ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"] {
            let token = signer.token_with(&json!({ "alg": alg, "kid": signer.id }), &claims(json!({})));
            if alg == signer.algorithm {
                proved(&issuers, &token).await;
            } else if fits(signer.id, alg) {
                refused(&issuers, &token, Refusal::BadSignature).await;
            } else {
                refused(&issuers, &token, Refusal::UnfitKey).await;
            }
        }
    }
}

#[tokio::test]
async fn a_token_brings_no_key_of_its_own() {
    let (known, own) = (Signer::es256("a"), Signer::es256("a"));
    let issuers = issuers(&set(&[&known]));
    for (name, value) in [
        ("jwk", own.jwk()),
        ("jku", json!("http://127.0.0.1:1/keys")),
        ("x5u", json!("http://127.0.0.1:1/keys")),
        ("x5c", json!(["MIIB"])),
        ("kid2", json!("a")),
    ] {
        let token = own.token_with(&json!({ "alg": "ES256", "kid": "a", name: value }), &claims(json!({})));
        refused(&issuers, &token, Refusal::BadSignature).await;
        let token = own.token_with(&json!({ "alg": "ES256", "kid": "b", name: value }), &claims(json!({})));
        refused(&issuers, &token, Refusal::UnknownKey).await;
    }
    for id in ["../a", "a\0", "A", "a ", "' or 1=1", ""] {
        refused(&issuers, &known.token_with(&json!({ "alg": "ES256", "kid": id }), &claims(json!({}))), Refusal::UnknownKey).await;
    }
    for id in [json!(1), json!(["a"]), json!(null)] {
        let token = known.token_with(&json!({ "alg": "ES256", "kid": id }), &claims(json!({})));
        assert!(matches!(issuers.verify(&token).await, Err(Refusal::Malformed(_))), "{id}");
    }
}

#[tokio::test]
async fn extensions_are_refused() {
    let signer = Signer::es256("a");
    let issuers = issuers(&set(&[&signer]));
    for critical in [json!(["exp"]), json!([]), json!(null), json!("b64")] {
        let header = json!({ "alg": "ES256", "kid": "a", "crit": critical, "b64": false });
        refused(&issuers, &signer.token_with(&header, &claims(json!({}))), Refusal::CriticalHeader).await;
    }
    // What a token is called does not matter.
    for kind in ["JWT", "at+jwt", "application/jwt", "anything"] {
        proved(&issuers, &signer.token_with(&json!({ "alg": "ES256", "kid": "a", "typ": kind }), &claims(json!({})))).await;
    }
}

#[tokio::test]
async fn only_a_token_is_a_token() {
    let signer = Signer::es256("a");
    let issuers = issuers(&set(&[&signer]));
    let token = signer.token(&claims(json!({})));
    proved(&issuers, &token).await;
    let parts: Vec<_> = token.split('.').collect();
    let (header, body, signature) = (parts[0], parts[1], parts[2]);
    let malformed = [
        String::new(),
        ".".into(),
        "..".into(),
        "...".into(),
        "dbx_key".into(),
        header.into(),
        format!("{header}.{body}"),
        format!("{token}."),
        format!(".{token}"),
        format!("{token}.{body}.{header}"),
        format!("{header}..{body}.{signature}"),
        format!("{header}.{body}.{signature}="),
        format!("{header}.{body}.{signature}=="),
        format!("{header}=.{body}.{signature}"),
        format!(" {token}"),
        format!("{token}\n"),
        format!("{token}\0"),
        format!("{header}.{body}.+/{}", &signature[2..]),
        format!("{header}.{body}.é{signature}"),
        format!("{}.{body}.{signature}", BASE64.encode("[]")),
        format!("{}.{body}.{signature}", BASE64.encode("{\"alg\":\"ES256\",\"kid\":\"a\"")),
        format!("{}.{body}.{signature}", BASE64.encode("{\"alg\":\"ES256\",\"kid\":\"a\"} x")),
        format!("{}.{body}.{signature}", BASE64.encode([0xff, 0xfe])),
        signer.token_of(r#"{"alg":"ES256","kid":"a"}"#, "null"),
        signer.token_of(r#"{"alg":"ES256","kid":"a"}"#, "\"text\""),
        signer.token_of(r#"{"alg":"ES256","kid":"a"}"#, ""),
        signer.token_of(r#"{"alg":"ES256","kid":"a"}"#, &format!("{}{}", "{\"a\":".repeat(900), "1")),
        signer.token_of(r#"{"alg":"none","alg":"ES256","kid":"a"}"#, &claims(json!({})).to_string()),
        signer.token_of(r#"{"alg":"ES256","kid":"b","kid":"a"}"#, &claims(json!({})).to_string()),
    ];
    for token in malformed {
        let refusal = issuers.verify_at(&token, super::now()).await.unwrap_err();
        assert!(matches!(refusal, Refusal::Malformed(_)), "{refusal:?} for {token:?}");
        assert!(!refusal.to_string().contains(signature));
    }
    for duplicate in ["\"sub\":\"root\"", "\"aud\":\"dbx\"", "\"exp\":1", "\"iss\":\"x\"", "\"s\\u0075b\":\"root\""] {
        let twice = claims(json!({})).to_string().replacen('{', &format!("{{{duplicate},"), 1);
        let token = signer.token_of(r#"{"alg":"ES256","kid":"a"}"#, &twice);
        let refusal = issuers.verify_at(&token, super::now()).await.unwrap_err();
        assert!(matches!(refusal, Refusal::Malformed(_)), "{refusal:?} for {twice}");
    }
}

#[tokio::test]
async fn every_byte_of_a_token_is_signed() {
    for signer in [Signer::es256("a"), Signer::ed25519("a"), Signer::rsa("a", "PS256")] {
        let issuers = issuers(&set(&[&signer]));
        let token = signer.token(&claims(json!({})));
        proved(&issuers, &token).await;
        for place in 0..token.len() {
            let mut other = token.clone().into_bytes();
            other[place] = if other[place] == b'A' { b'B' } else { b'A' };
            let other = String::from_utf8(other).unwrap();
            assert!(issuers.verify_at(&other, super::now()).await.is_err(), "{other}");
            assert!(issuers.verify_at(&token[..place], super::now()).await.is_err(), "{place}");
        }
        // Nothing, zeros, and the signature of another token.
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let zeros = BASE64.encode(vec![0; BASE64.decode(signature).unwrap().len()]);
        let other = signer.token(&claims(json!({ "sub": "bob" })));
        for signature in ["", &zeros, other.rsplit_once('.').unwrap().1] {
            refused(&issuers, &format!("{signed}.{signature}"), Refusal::BadSignature).await;
        }
    }
}

#[tokio::test]
async fn a_token_has_a_bounded_length() {
    let signer = Signer::es256("a");
    let issuers = issuers(&set(&[&signer]));
    let padded = |length: usize| signer.token(&claims(json!({ "pad": "x".repeat(length) })));
    let fits = (0..token::MAX_BYTES).rev().find(|length| padded(*length).len() <= token::MAX_BYTES).unwrap();
    proved(&issuers, &padded(fits)).await;
    refused(&issuers, &padded(fits + 2), Refusal::Malformed("is too long")).await;
    refused(&issuers, &"a".repeat(10 << 20), Refusal::Malformed("is too long")).await;
}

#[tokio::test]
async fn an_issuer_is_exactly_one() {
    let signer = Signer::es256("a");
    let issuers = issuers(&set(&[&signer]));
    let others = [format!("{ISSUER}/"), ISSUER.to_uppercase(), format!(" {ISSUER}"), "https://id.example.com.evil".into(), String::new()];
    for other in others {
        refused(&issuers, &signer.token(&claims(json!({ "iss": other }))), Refusal::UnknownIssuer).await;
    }
    refused(&issuers, &signer.token(&claims(json!({ "iss": null }))), Refusal::MissingClaim("iss".into())).await;
    for other in [json!([ISSUER]), json!(1), json!({ "iss": ISSUER })] {
        refused(&issuers, &signer.token(&claims(json!({ "iss": other }))), Refusal::InvalidClaim("iss".into())).await;
    }
}
