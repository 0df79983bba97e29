use std::convert::Infallible;

use clap::Parser;
use hyper::{body::Bytes, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::json;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};

use super::*;
use crate::{
    args::{Arguments, Command},
    tunnel::speak,
};

fn gateway(databases: &[&str]) -> DbxGateway {
    let databases: Vec<_> = databases.iter().map(|name| json!({ "name": name, "redis": { "managed": {} } })).collect();
    let spec = json!({ "config": { "databases": databases, "auth": { "mode": "none" } } });
    serde_json::from_value(json!({ "metadata": { "name": "cache", "namespace": "shop" }, "spec": spec })).unwrap()
}

fn asked(arguments: &[&str], databases: &[&str]) -> Result<(String, String, String), String> {
    let all = ["kubectl-dbx", "call", "cache"].iter().chain(arguments);
    let Command::Call(call) = Arguments::parse_from(all).command else { panic!("another command") };
    let wanted = wanted(&call, &gateway(databases)).map_err(|error| format!("{error:#}"))?;
    Ok((wanted.method, wanted.path, wanted.body))
}

fn is(arguments: &[&str], method: &str, path: &str, body: &str) {
    assert_eq!(asked(arguments, &["redis"]), Ok((method.into(), path.into(), body.into())));
}

#[test]
fn by_path_and_by_name() {
    is(&["/api/v1/redis"], "GET", "/api/v1/redis", "");
    is(&["/api/v1/redis/get", "-d", r#"{"key":"a"}"#], "POST", "/api/v1/redis/get", r#"{"key":"a"}"#);
    is(&["put", "/api/v1/redis/strings/a", "-d", r#"{"value":1}"#], "PUT", "/api/v1/redis/strings/a", r#"{"value":1}"#);
    is(&["get", r#"{"key":"a"}"#], "POST", "/api/v1/redis/get", r#"{"key":"a"}"#);
    is(&["get", "-d", r#"{"key":"a"}"#], "POST", "/api/v1/redis/get", r#"{"key":"a"}"#);
    is(&["ping"], "POST", "/api/v1/redis/ping", "{}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let refused = |arguments: &[&str], databases: &[&str]| asked(arguments, databases).unwrap_err();
    assert!(refused(&["get", "a"], &["redis"]).starts_with("the arguments of get are a JSON object"));
    assert!(refused(&["get", "{}", "-d", "{}"], &["redis"]).contains("twice"));
    assert!(refused(&["/a", "--database", "redis"], &["redis"]).contains("--database"));
    assert_eq!(refused(&["ping"], &["a", "b"]), "cache has a, b: say which with --database");
    assert_eq!(asked(&["ping", "--database", "b"], &["a", "b"]).unwrap().1, "/api/v1/b/ping");
}

/// A certificate for the Service's name, its key, and the CA that signed it.
fn certified(name: &str) -> (CertificateDer<'static>, PrivateKeyDer<'static>, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().unwrap();
    let ca = params.self_signed(&ca_key).unwrap().pem();
    let issuer = Issuer::new(params, ca_key);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.into()]).unwrap().signed_by(&key, &issuer).unwrap();
    (certificate.der().clone(), PrivatePkcs8KeyDer::from(key.serialize_der()).into(), ca)
}

/// What a gateway that shows a certificate answers, through TLS that believes a CA.
async fn answer(shows: &str, ca: Option<&str>) -> anyhow::Result<u16> {
    let (certificate, key, own) = certified(shows);
    let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions()?;
    let server = TlsAcceptor::from(Arc::new(server.with_no_client_auth().with_single_cert(vec![certificate], key)?));
    let (near, far) = tokio::io::duplex(1 << 16);
    tokio::spawn(async move {
        let hello = service_fn(|_| async { Ok::<_, Infallible>(hyper::Response::new(Full::<Bytes>::default())) });
        http1::Builder::new().serve_connection(TokioIo::new(server.accept(far).await.unwrap()), hello).await.unwrap();
    });
    let insecure = ca.is_none();
    let ca = ca.unwrap_or_default();
    let tls = believing(if ca == "its own" { own.as_bytes() } else { ca.as_bytes() }, insecure)?;
    let mut sender = speak(near, Some((tls, "cache.shop.svc".try_into()?))).await?;
    Ok(sender.send_request(Request::get("/").header("host", "cache").body(Full::default())?).await?.status().as_u16())
}

#[tokio::test]
async fn a_gateway_with_tls_is_believed_by_its_name_and_ca() {
    assert_eq!(answer("cache.shop.svc", Some("its own")).await.unwrap(), 200);
    let told = format!("{:#}", answer("other.shop.svc", Some("its own")).await.unwrap_err());
    assert!(told.contains("not valid for name"), "{told}");
    let other = certified("cache.shop.svc").2;
    let told = format!("{:#}", answer("cache.shop.svc", Some(&other)).await.unwrap_err());
    assert!(told.contains("invalid peer certificate"), "{told}");
    assert_eq!(answer("other.shop.svc", None).await.unwrap(), 200, "--insecure");
    let told = format!("{:#}", believing(b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", false).unwrap_err());
    assert!(told.starts_with("the CA certificates: "), "{told}");
}
