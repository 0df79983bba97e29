//! The cluster that the gateway runs in, played by a server that says what an API server says.

use std::{fs, path::Path};

use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::{
    Cluster, Issuers, Jwt, Pace, Refusal, claims, issuer, now, proved, refused,
    server::{Answer, Server, until},
    set,
    signer::Signer,
};

const CLUSTER: &str = "https://kubernetes.default.svc.cluster.local";

fn answers(issuer: &str, keys: &Value, elsewhere: &str) -> Answer {
    let discovery = json!({ "issuer": issuer, "jwks_uri": elsewhere, "response_types_supported": ["id_token"] });
    Answer::Documents(vec![("/.well-known/openid-configuration", discovery.to_string()), ("/openid/v1/jwks", keys.to_string())])
}

/// A cluster at a server, with the folder that its pods have.
fn cluster(server: &Server, ca: &str) -> (Cluster, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("ca.crt"), ca).unwrap();
    fs::write(folder.path().join("token"), "first\n").unwrap();
    (Cluster { address: format!("https://{}", server.address), directory: folder.path().to_owned() }, folder)
}

fn open(others: &[Jwt], cluster: &Cluster) -> Issuers {
    let mut config = vec![Jwt { kubernetes: Some(Default::default()), ..Jwt::default() }];
    config.extend_from_slice(others);
    let pace = Pace { retry: std::time::Duration::from_millis(10), ..Pace::default() };
    Issuers::with(&config, Path::new("/nonexistent"), &Handle::current(), cluster, pace).unwrap()
}

/// What the token of a pod claims.
fn pod(changes: Value) -> Value {
    let mut all = json!({
        "iss": CLUSTER, "sub": "system:serviceaccount:shop:cart", "aud": ["dbx"],
        "kubernetes.io": { "namespace": "shop", "serviceaccount": { "name": "cart", "uid": "1" }, "pod": { "name": "cart-0" } },
    });
    all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    claims(all)
}

#[tokio::test]
async fn a_pod_is_its_service_account() {
    let (signer, new) = (Signer::rsa("a", "RS256"), Signer::es256("b"));
    let elsewhere = Server::start(Answer::keys(&set(&[&signer]))).await;
    let (server, ca) = Server::tls(answers(CLUSTER, &set(&[&signer]), &elsewhere.url("/keys")), "127.0.0.1").await;
    let (cluster, folder) = cluster(&server, &ca);
    let issuers = open(&[], &cluster);
    let believed = proved(&issuers, &signer.token(&pod(json!({})))).await;
    assert_eq!((believed.name.as_str(), believed.groups.len()), ("serviceaccount:shop/cart", 0));
    let shown = Some("Bearer first".to_owned());
    assert_eq!(server.seen(), [("/.well-known/openid-configuration".into(), shown.clone()), ("/openid/v1/jwks".into(), shown)]);

    // The token of the API server's audience, which every pod has, is not for the gateway.
    refused(&issuers, &signer.token(&pod(json!({ "aud": [CLUSTER] }))), Refusal::WrongAudience).await;
    refused(&issuers, &signer.token(&pod(json!({ "iss": "https://elsewhere" }))), Refusal::UnknownIssuer).await;
    for subject in [
        "alice",
        "system:node:a",
        "system:serviceaccount:shop",
        "system:serviceaccount::cart",
        "system:serviceaccount:shop:",
        "system:serviceaccount:shop:cart:x",
        "system:serviceaccount:shop/cart:x",
        "system:serviceaccount:shop:*",
        "system:serviceaccount:shop:Cart",
        "x:system:serviceaccount:shop:cart",
    ] {
        refused(&issuers, &signer.token(&pod(json!({ "sub": subject }))), Refusal::InvalidClaim("sub".into())).await;
    }
    // The token is read anew for each fetch; the new key makes for one.
    fs::write(folder.path().join("token"), "second").unwrap();
    server.answer(answers(CLUSTER, &set(&[&signer, &new]), &elsewhere.url("/keys")));
    proved(&issuers, &new.token(&pod(json!({})))).await;
    assert_eq!(server.seen()[2..].iter().map(|(_, shown)| shown.as_deref()).collect::<Vec<_>>(), [Some("Bearer second"); 2]);
    assert_eq!(elsewhere.requests(), 0, "the address that the discovery names is not asked");
}

#[tokio::test]
async fn a_cluster_may_be_late() {
    let (signer, other) = (Signer::rsa("a", "RS256"), Signer::es256("a"));
    let (server, ca) = Server::tls(Answer::Documents(Vec::new()), "127.0.0.1").await;
    let (cluster, folder) = cluster(&server, &ca);
    fs::remove_file(folder.path().join("token")).unwrap();
    let (file, _file) = issuer(&set(&[&other]));
    let issuers = open(&[file], &cluster);
    proved(&issuers, &other.token(&claims(json!({})))).await;
    refused(&issuers, &signer.token(&pod(json!({}))), Refusal::KeysUnavailable).await;
    assert_eq!(server.requests(), 0, "nobody is asked without a token");
    fs::write(folder.path().join("token"), "third").unwrap();
    until("the API server is asked", || async { server.requests() > 0 }).await;
    server.answer(answers(CLUSTER, &set(&[&signer]), ""));
    let token = signer.token(&pod(json!({})));
    until("the keys are there", || async { issuers.verify_at(&token, now()).await.is_ok() }).await;
    // Its keys are not those of another issuer, nor the other way around.
    refused(&issuers, &signer.token(&claims(json!({}))), Refusal::UnfitKey).await;
    refused(&issuers, &other.token(&pod(json!({}))), Refusal::UnfitKey).await;
}

#[tokio::test]
async fn the_gateways_token_is_shown_to_the_api_server_alone() {
    let (_, ca) = Server::tls(Answer::Silence, "127.0.0.1").await;
    let (impostor, _) = Server::tls(answers(CLUSTER, &set(&[]), ""), "127.0.0.1").await;
    let (cluster, _folder) = cluster(&impostor, &ca);
    let issuers = open(&[], &cluster);
    refused(&issuers, &Signer::es256("a").token(&pod(json!({}))), Refusal::KeysUnavailable).await;
    assert_eq!(impostor.requests(), 0);
}
