//! Keys that are fetched: when, how often, and from whom not.

use std::{fs, path::Path, sync::Arc, time::Duration};

use axum::http::{HeaderMap, HeaderValue, header::CACHE_CONTROL};
use bytes::Bytes;
use dbx_crds::config::{Jwt, SecretSource};
use futures::future::join_all;
use serde_json::json;
use tokio::runtime::Handle;

use super::{
    super::{fetch, keeper},
    Cluster, ISSUER, Issuers, Pace, Refusal, claims, issuer, now, proved, refused,
    server::{Answer, Server, until},
    set,
    signer::Signer,
};

/// Failed fetches come again at once, fetches for unknown keys once in the time of a test.
const PACE: Pace = Pace {
    timeout: Duration::from_secs(5),
    rest: Duration::from_secs(3600),
    retry: Duration::from_millis(10),
    stale: Duration::from_secs(3600),
};
/// The same for servers that never answer.
const IMPATIENT: Pace = Pace { timeout: Duration::from_millis(200), ..PACE };

fn at(url: &str) -> Jwt {
    Jwt { issuer: Some(ISSUER.into()), jwks_url: Some(url.into()), ..Jwt::default() }
}

fn fetching(config: &[Jwt], pace: Pace) -> Issuers {
    let cluster = Cluster { address: "https://127.0.0.1:1".into(), directory: "/nonexistent".into() };
    Issuers::with(config, Path::new("/nonexistent"), &Handle::current(), &cluster, pace).unwrap()
}

#[tokio::test]
async fn a_key_that_is_new_is_fetched_once() {
    let (old, new, newer) = (Signer::es256("old"), Signer::es256("new"), Signer::es256("newer"));
    let server = Server::start(Answer::keys(&set(&[&old]))).await;
    let issuers = fetching(&[at(&server.url("/keys?tenant=a"))], PACE);
    let token = |signer: &Signer| signer.token(&claims(json!({})));
    // The first fetch has hardly begun; all who call wait for it.
    for outcome in join_all((0..50).map(|_| async { issuers.verify_at(&token(&old), now()).await })).await {
        outcome.unwrap();
    }
    assert_eq!(server.seen(), [("/keys?tenant=a".to_owned(), None)]);

    server.answer(Answer::keys(&set(&[&old, &new])));
    for outcome in join_all((0..50).map(|_| async { issuers.verify_at(&token(&new), now()).await })).await {
        outcome.unwrap();
    }
    assert_eq!(server.requests(), 2);
    proved(&issuers, &token(&old)).await;

    // It was asked a moment ago.
    server.answer(Answer::keys(&set(&[&newer])));
    refused(&issuers, &token(&newer), Refusal::UnknownKey).await;
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn a_flood_of_unknown_keys_is_one_fetch() {
    let signer = Signer::es256("a");
    let server = Server::start(Answer::keys(&set(&[&signer]))).await;
    let issuers = fetching(&[at(&server.url("/keys"))], PACE);
    let good = signer.token(&claims(json!({})));
    proved(&issuers, &good).await;
    let unknown = |number: usize| signer.token_with(&json!({ "alg": "ES256", "kid": format!("x{number}") }), &claims(json!({})));
    for round in 0..5 {
        let all = (0..200).map(|number| {
            let token = unknown(200 * round + number);
            let issuers = &issuers;
            async move { issuers.verify_at(&token, now()).await }
        });
        for outcome in join_all(all).await {
            assert_eq!(outcome, Err(Refusal::UnknownKey));
        }
    }
    assert_eq!(server.requests(), 2, "the first, and one for all of the flood");
    // Neither tokens of others nor tokens that are not signed by the key make for more.
    for token in [signer.token(&claims(json!({ "iss": "x" }))), Signer::es256("a").token(&claims(json!({})))] {
        assert!(issuers.verify_at(&token, now()).await.is_err());
    }
    assert_eq!(server.requests(), 2);
    proved(&issuers, &good).await;
}

#[tokio::test]
async fn keys_are_asked_for_again_after_a_rest() {
    let (old, new) = (Signer::es256("old"), Signer::es256("new"));
    let server = Server::start(Answer::keys(&set(&[&old]))).await;
    let issuers = fetching(&[at(&server.url("/keys"))], Pace { rest: Duration::from_millis(50), ..PACE });
    let token = new.token(&claims(json!({})));
    refused(&issuers, &token, Refusal::UnknownKey).await;
    server.answer(Answer::keys(&set(&[&new])));
    until("the new key is known", || async { issuers.verify_at(&token, now()).await.is_ok() }).await;
    // What the issuer no longer names is no longer believed.
    refused(&issuers, &old.token(&claims(json!({}))), Refusal::UnknownKey).await;
}

#[tokio::test]
async fn redirects_lead_nowhere() {
    let signer = Signer::es256("a");
    let target = Server::start(Answer::keys(&set(&[&signer]))).await;
    for status in [301, 302, 303, 307, 308] {
        let location = vec![("location", target.url("/keys"))];
        let server = Server::start(Answer::Always(status, location, Bytes::from(set(&[&signer]).to_string()))).await;
        let issuers = fetching(&[at(&server.url("/keys"))], PACE);
        let token = signer.token(&claims(json!({})));
        refused(&issuers, &token, Refusal::KeysUnavailable).await;
        assert!(server.requests() > 0);
    }
    assert_eq!(target.requests(), 0);
}

#[tokio::test]
async fn only_a_jwks_is_one() {
    let signer = Signer::es256("a");
    let keys = set(&[&signer]).to_string();
    let too_large = format!("{keys}{}", " ".repeat(fetch::MAX_BYTES + 1 - keys.len()));
    let long_header = vec![("x-long", "x".repeat(200 << 10))];
    let answers = [
        Answer::Always(200, Vec::new(), Bytes::from(too_large)),
        Answer::Always(200, Vec::new(), Bytes::from("<html>")),
        Answer::Always(200, Vec::new(), Bytes::new()),
        Answer::Always(200, Vec::new(), Bytes::from("{\"keys\":1}")),
        Answer::Always(200, long_header, Bytes::from(keys.clone())),
        Answer::Always(201, Vec::new(), Bytes::from(keys.clone())),
        Answer::Always(206, Vec::new(), Bytes::from(keys.clone())),
        Answer::Always(404, Vec::new(), Bytes::from(keys.clone())),
        Answer::Always(500, Vec::new(), Bytes::from(keys.clone())),
    ];
    let token = signer.token(&claims(json!({})));
    for answer in answers {
        let server = Server::start(answer).await;
        let issuers = fetching(&[at(&server.url("/keys"))], PACE);
        refused(&issuers, &token, Refusal::KeysUnavailable).await;
        // It gets better by itself.
        server.answer(Answer::keys(&set(&[&signer])));
        until("the keys are there", || async { issuers.verify_at(&token, now()).await.is_ok() }).await;
    }
    let largest = format!("{keys}{}", " ".repeat(fetch::MAX_BYTES - keys.len()));
    let server = Server::start(Answer::Always(200, Vec::new(), Bytes::from(largest))).await;
    proved(&fetching(&[at(&server.url("/keys"))], PACE), &token).await;
}

#[tokio::test]
async fn a_server_that_does_not_answer_keeps_nobody() {
    let signer = Signer::es256("a");
    let server = Server::start(Answer::Silence).await;
    let issuers = fetching(&[at(&server.url("/keys"))], IMPATIENT);
    let token = signer.token(&claims(json!({})));
    for outcome in join_all((0..100).map(|_| async { issuers.verify_at(&token, now()).await })).await {
        assert_eq!(outcome, Err(Refusal::KeysUnavailable));
    }
    assert!(server.requests() < 10, "{}", server.requests());
    // A port where nobody is, and one that does not speak HTTP.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mute = fetching(&[at(&format!("http://{}/keys", port.local_addr().unwrap()))], IMPATIENT);
    refused(&mute, &token, Refusal::KeysUnavailable).await;
    let address = port.local_addr().unwrap();
    drop((mute, port));
    refused(&fetching(&[at(&format!("http://{address}/keys"))], IMPATIENT), &token, Refusal::KeysUnavailable).await;
}

#[tokio::test]
async fn keys_outlive_their_server() {
    let (signer, new) = (Signer::es256("a"), Signer::es256("new"));
    let server = Server::start(Answer::keys(&set(&[&signer]))).await;
    let issuers = fetching(&[at(&server.url("/keys"))], Pace { rest: Duration::from_millis(10), ..PACE });
    let token = signer.token(&claims(json!({})));
    proved(&issuers, &token).await;
    server.answer(Answer::Always(500, Vec::new(), Bytes::new()));
    // Whether it is a key cannot be said now; the known one is believed as before.
    let unknown = new.token(&claims(json!({})));
    refused(&issuers, &unknown, Refusal::KeysUnavailable).await;
    proved(&issuers, &token).await;
    server.answer(Answer::keys(&set(&[&signer, &new])));
    until("the server is back", || async { issuers.verify_at(&unknown, now()).await.is_ok() }).await;
}

#[tokio::test]
async fn keys_do_not_outlive_it_for_ever() {
    let signer = Signer::es256("a");
    let server = Server::start(Answer::keys(&set(&[&signer]))).await;
    let issuers = fetching(&[at(&server.url("/keys"))], Pace { stale: Duration::ZERO, ..PACE });
    let token = signer.token(&claims(json!({})));
    proved(&issuers, &token).await;
    server.answer(Answer::Always(500, Vec::new(), Bytes::new()));
    refused(&issuers, &Signer::es256("new").token(&claims(json!({}))), Refusal::KeysUnavailable).await;
    refused(&issuers, &token, Refusal::KeysUnavailable).await;
}

#[tokio::test]
async fn workers_wait_on_runtimes_of_their_own() {
    let (old, new) = (Signer::es256("old"), Signer::es256("new"));
    let server = Server::start(Answer::keys(&set(&[&old]))).await;
    let issuers = Arc::new(fetching(&[at(&server.url("/keys"))], PACE));
    proved(&issuers, &old.token(&claims(json!({})))).await;
    server.answer(Answer::keys(&set(&[&old, &new])));
    let token = new.token(&claims(json!({})));
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let (issuers, token) = (issuers.clone(), token.clone());
            tokio::task::spawn_blocking(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(issuers.verify_at(&token, now()))
            })
        })
        .collect();
    for worker in workers {
        assert_eq!(worker.await.unwrap().unwrap().name, "jwt:alice");
    }
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn an_issuer_that_is_away_is_nobody_elses_trouble() {
    let (here, away) = (Signer::es256("here"), Server::start(Answer::Silence).await);
    let (file, _file) = issuer(&set(&[&here]));
    let other = Jwt { issuer: Some("https://away.example.com".into()), ..at(&away.url("/keys")) };
    let cluster = Jwt { kubernetes: Some(Default::default()), ..Jwt::default() };
    // It is never waited for, though nothing could be known of it for an hour.
    let issuers = fetching(&[cluster, other, file], Pace { timeout: Duration::from_secs(3600), ..PACE });
    proved(&issuers, &here.token(&claims(json!({})))).await;
    refused(&issuers, &here.token(&claims(json!({ "aud": "x" }))), Refusal::WrongAudience).await;
}

#[tokio::test]
async fn https_is_believed_by_its_ca() {
    let signer = Signer::es256("a");
    let token = signer.token(&claims(json!({})));
    let (server, ca) = Server::tls(Answer::keys(&set(&[&signer])), "localhost").await;
    let (_, other) = Server::tls(Answer::Silence, "localhost").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    let source = SecretSource { file: Some(file.display().to_string()), ..SecretSource::default() };
    let port = server.address.port();
    let config = |host: &str, source: &SecretSource| Jwt { ca_from: Some(source.clone()), ..at(&format!("https://{host}:{port}/keys")) };

    // Another CA, no CA but those of the system, the right CA for another name.
    fs::write(&file, &other).unwrap();
    refused(&fetching(&[config("localhost", &source)], PACE), &token, Refusal::KeysUnavailable).await;
    refused(&fetching(&[Jwt { ca_from: None, ..config("localhost", &source) }], PACE), &token, Refusal::KeysUnavailable).await;
    fs::write(&file, &ca).unwrap();
    refused(&fetching(&[config("127.0.0.1", &source)], PACE), &token, Refusal::KeysUnavailable).await;
    assert_eq!(server.requests(), 0);
    proved(&fetching(&[config("localhost", &source)], PACE), &token).await;

    // A CA that changes needs no restart.
    fs::write(&file, &other).unwrap();
    let issuers = fetching(&[config("localhost", &source)], PACE);
    refused(&issuers, &token, Refusal::KeysUnavailable).await;
    fs::write(&file, ca + &other).unwrap();
    until("the new CA is used", || async { issuers.verify_at(&token, now()).await.is_ok() }).await;
}

#[test]
fn an_answer_is_kept_for_a_while() {
    let kept = |control: &'static str| {
        let headers = [(CACHE_CONTROL, HeaderValue::from_static(control))].into_iter().collect();
        keeper::kept(fetch::max_age(&headers)).as_secs()
    };
    assert_eq!(kept("public, max-age=3601, must-revalidate"), 3601);
    assert_eq!(kept("Max-Age=7200"), 7200);
    assert_eq!(["max-age=0", "max-age=299"].map(kept), [300; 2]);
    assert_eq!(["max-age=86401", "max-age=18446744073709551615"].map(kept), [86400; 2]);
    let unclear = ["", "no-store", "max-age", "max-age=", "max-age=-1", "max-age=x", "max-age=18446744073709551616", "s-maxage=10"];
    assert_eq!(unclear.map(kept), [3600; 8]);
    assert_eq!(keeper::kept(fetch::max_age(&HeaderMap::new())).as_secs(), 3600);
}

#[tokio::test]
async fn nobody_asks_when_nobody_wants_to_know() {
    let server = Server::start(Answer::Always(500, Vec::new(), Bytes::new())).await;
    let issuers = fetching(&[at(&server.url("/keys"))], PACE);
    until("the server is asked", || async { server.requests() > 0 }).await;
    let tasks = Handle::current().metrics().num_alive_tasks();
    drop(issuers);
    until("the task ends", || async { Handle::current().metrics().num_alive_tasks() < tasks }).await;
}
