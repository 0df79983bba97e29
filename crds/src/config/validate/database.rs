//! What a database is.

use super::Findings;
use crate::config::{Database, Redis, RedisAddress, RedisUrl};

pub(super) fn check_database(database: &Database, path: &str, findings: &mut Findings) {
    let Some(redis) = &database.redis else {
        findings.add(path, "expected the kind of database, which is `redis`");
        return;
    };
    let path = format!("{path}.redis");
    match (&redis.url, &redis.managed) {
        (None, None) => findings.add(&path, "expected `url` of a Redis that exists, or `managed: {}` for one that DBX runs"),
        (Some(_), Some(_)) => findings.add(&path, "`url` and `managed` exclude each other"),
        (Some(url), None) => {
            if let Err(message) = RedisUrl::parse(url) {
                findings.add(format!("{path}.url"), message);
            }
        }
        (None, Some(_)) => check_managed(redis, &path, findings),
    }
    let url = redis.url.as_deref().and_then(|url| RedisUrl::parse(url).ok());
    if redis.password_from.is_some() && url.as_ref().is_some_and(|url| url.password.is_some()) {
        findings.add(format!("{path}.passwordFrom"), "the URL holds a password already");
    }
    if redis.sentinel.is_some() && url.as_ref().is_some_and(|url| !matches!(url.address, RedisAddress::Sentinel(..))) {
        findings.add(format!("{path}.sentinel"), "the URL names no Sentinels; redis+sentinel:// does");
    }
    if let Some(tls) = &redis.tls {
        if url.is_some_and(|url| !url.tls) {
            findings.add(format!("{path}.tls"), "the URL asks for a connection without TLS; rediss:// asks for one");
        }
        if tls.certificate_from.is_some() != tls.key_from.is_some() {
            findings.add(format!("{path}.tls"), "`certificateFrom` and `keyFrom` belong together");
        }
    }
}

fn check_managed(redis: &Redis, path: &str, findings: &mut Findings) {
    let fields = [
        ("username", redis.username.is_some()),
        ("passwordFrom", redis.password_from.is_some()),
        ("tls", redis.tls.is_some()),
        ("users", !redis.users.is_empty()),
        ("sentinel", redis.sentinel.is_some()),
    ];
    for (field, given) in fields {
        if given {
            findings.add(format!("{path}.{field}"), "a managed Redis has credentials of its own");
        }
    }
}
