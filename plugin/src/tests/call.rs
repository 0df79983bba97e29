use clap::Parser;
use serde_json::json;

use super::*;
use crate::args::{Arguments, Command};

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
