//! What verified tokens have to claim.

use std::time::Duration;

use dbx_crds::config::Jwt;
use serde_json::{Value, json};

use super::{Refusal, claims, issuer, issuers, now, open, proved, refused, seconds, set, signer::Signer};

#[tokio::test]
async fn a_token_has_its_time() {
    let signer = Signer::es256("a");
    let issuers = issuers(&set(&[&signer]));
    let token = |changes: Value| signer.token(&claims(changes));
    // The leeway is 30 seconds, to either side.
    let believed = proved(&issuers, &token(json!({ "exp": seconds(-29) }))).await;
    assert_eq!(believed.until, now() + Duration::from_secs(1), "a token is believed until its leeway is over too");
    refused(&issuers, &token(json!({ "exp": seconds(-30) })), Refusal::Expired).await;
    refused(&issuers, &token(json!({ "exp": 0 })), Refusal::Expired).await;
    refused(&issuers, &token(json!({ "exp": null })), Refusal::MissingClaim("exp".into())).await;
    for name in ["nbf", "iat"] {
        proved(&issuers, &token(json!({ name: seconds(30) }))).await;
        proved(&issuers, &token(json!({ name: 0 }))).await;
        refused(&issuers, &token(json!({ name: seconds(31) })), Refusal::NotYetValid).await;
    }
    proved(&issuers, &token(json!({ "exp": 1_800_000_000.5, "nbf": 1.5e9 }))).await;
    for name in ["exp", "nbf", "iat"] {
        for value in [json!("1800000060"), json!(-1), json!(1e300), json!(u64::MAX), json!(1_800_000_060_000_i64), json!(true), json!([1])]
        {
            refused(&issuers, &token(json!({ name: value })), Refusal::InvalidClaim(name.into())).await;
        }
    }
    let null = claims(json!({})).to_string().replacen('{', "{\"nbf\":null,", 1);
    refused(&issuers, &signer.token_of(r#"{"alg":"ES256","kid":"a"}"#, &null), Refusal::InvalidClaim("nbf".into())).await;
}

#[tokio::test]
async fn the_leeway_can_be_said() {
    let signer = Signer::es256("a");
    let (config, _file) = issuer(&set(&[&signer]));
    let leeway: dbx_crds::config::Duration = serde_json::from_value(json!("0s")).unwrap();
    let issuers = open(&[Jwt { leeway: Some(leeway), ..config }]).unwrap();
    proved(&issuers, &signer.token(&claims(json!({ "exp": seconds(1), "nbf": seconds(0) })))).await;
    refused(&issuers, &signer.token(&claims(json!({ "exp": seconds(0) }))), Refusal::Expired).await;
    refused(&issuers, &signer.token(&claims(json!({ "nbf": seconds(1) }))), Refusal::NotYetValid).await;
}

#[tokio::test]
async fn a_token_is_for_this_audience() {
    let signer = Signer::es256("a");
    let (config, _file) = issuer(&set(&[&signer]));
    let issuers = open(std::slice::from_ref(&config)).unwrap();
    let token = |audience: Value| signer.token(&claims(json!({ "aud": audience })));
    for audience in [json!("dbx"), json!(["dbx"]), json!(["other", "dbx"])] {
        proved(&issuers, &token(audience)).await;
    }
    for audience in [json!("other"), json!("dbx2"), json!("DBX"), json!("*"), json!(""), json!([]), json!(["other"]), json!("other dbx")] {
        refused(&issuers, &token(audience), Refusal::WrongAudience).await;
    }
    for audience in [json!(1), json!({ "dbx": true }), json!(["dbx", 1])] {
        refused(&issuers, &token(audience), Refusal::InvalidClaim("aud".into())).await;
    }
    refused(&issuers, &token(json!(null)), Refusal::MissingClaim("aud".into())).await;

    // The same issuer may be believed for two audiences.
    let other = Jwt { audience: Some("other".into()), identity_claim: Some("email".into()), ..config.clone() };
    let issuers = open(&[config, other]).unwrap();
    assert_eq!(proved(&issuers, &token(json!("dbx"))).await.name, "jwt:alice");
    let token = signer.token(&claims(json!({ "aud": "other", "email": "a@example.com" })));
    assert_eq!(proved(&issuers, &token).await.name, "jwt:a@example.com");
}

#[tokio::test]
async fn a_token_names_its_caller() {
    let signer = Signer::es256("a");
    let (config, _file) = issuer(&set(&[&signer]));
    let issuers = open(std::slice::from_ref(&config)).unwrap();
    let token = |changes: Value| signer.token(&claims(changes));
    let believed = proved(&issuers, &token(json!({ "groups": ["ops"] }))).await;
    assert_eq!((believed.name.as_str(), believed.groups), ("jwt:alice", vec![]), "groups are believed only when they are asked for");
    refused(&issuers, &token(json!({ "sub": null })), Refusal::MissingClaim("sub".into())).await;
    for name in [json!(""), json!(7), json!(["alice"]), json!("a\nkey:web"), json!("a\0"), json!("x".repeat(257))] {
        refused(&issuers, &token(json!({ "sub": name })), Refusal::InvalidClaim("sub".into())).await;
    }
    // A name is only ever behind `jwt:`, whatever it looks like.
    for name in ["key:web", "*", "group:ops", "serviceaccount:shop/cart", "système"] {
        assert_eq!(proved(&issuers, &token(json!({ "sub": name }))).await.name, format!("jwt:{name}"));
    }

    let issuers = open(&[Jwt { identity_claim: Some("email".into()), groups_claim: Some("roles".into()), ..config }]).unwrap();
    let believed = proved(&issuers, &token(json!({ "email": "a@example.com", "roles": ["ops", "dev"] }))).await;
    assert_eq!((believed.name.as_str(), believed.groups), ("jwt:a@example.com", vec!["group:ops".into(), "group:dev".into()]));
    let one = proved(&issuers, &token(json!({ "email": "a@example.com", "roles": "ops dev" }))).await;
    assert_eq!(one.groups, ["group:ops dev"]);
    assert!(proved(&issuers, &token(json!({ "email": "a@example.com" }))).await.groups.is_empty());
    refused(&issuers, &token(json!({})), Refusal::MissingClaim("email".into())).await;
    for roles in [json!(1), json!([1]), json!({ "ops": true }), json!([""]), json!(["a\nb"]), json!([["ops"]])] {
        refused(&issuers, &token(json!({ "email": "a", "roles": roles })), Refusal::InvalidClaim("roles".into())).await;
    }
}

#[tokio::test]
async fn claims_count_for_nothing_before_the_signature() {
    let (known, other) = (Signer::es256("a"), Signer::es256("a"));
    let issuers = issuers(&set(&[&known]));
    for changes in [json!({ "exp": 0 }), json!({ "aud": "other" }), json!({ "sub": null }), json!({ "nbf": "x" })] {
        refused(&issuers, &other.token(&claims(changes)), Refusal::BadSignature).await;
    }
}
