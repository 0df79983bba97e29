//! What a database is.

use super::Findings;
use crate::config::{Database, Managed, Persistence, Redis, RedisAddress, RedisUrl, managed::memory};

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
        (None, Some(managed)) => check_managed(redis, managed, &path, findings),
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

fn check_managed(redis: &Redis, managed: &Managed, path: &str, findings: &mut Findings) {
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
    if managed.persistence() == Persistence::None {
        for (field, given) in [("storage", managed.storage.is_some()), ("deleteStorage", managed.delete_storage.is_some())] {
            if given {
                findings.add(format!("{path}.managed.{field}"), "has no meaning with `persistence: none`, which keeps nothing");
            }
        }
    }
    let limit = format!("{path}.managed.resources.limits.memory");
    match (managed.memory_limit(), managed.maxmemory_policy) {
        (Some(text), _) if memory(text) < memory(Managed::MIN_MEMORY) => {
            findings.add(limit, format!("expected at least {}, such as 256Mi: an empty Redis takes several MiB", Managed::MIN_MEMORY));
        }
        (None, Some(_)) => findings.add(
            format!("{path}.managed.maxmemoryPolicy"),
            "needs `resources.limits.memory`, since without a limit the data may grow until the node has no more memory",
        ),
        _ => {}
    }
}

/// What of a managed Redis only the operator can do.
pub(super) fn check_child(managed: &Managed, path: &str, findings: &mut Findings) {
    let Managed { storage, delete_storage, version, resources, maxmemory_policy, persistence } = managed;
    let fields = [
        ("storage", storage.is_some()),
        ("deleteStorage", delete_storage.is_some()),
        ("version", version.is_some()),
        ("resources", resources.is_some()),
        ("maxmemoryPolicy", maxmemory_policy.is_some()),
        ("persistence", persistence.is_some()),
    ];
    for (field, _) in fields.into_iter().filter(|(_, given)| *given) {
        findings.add(
            format!("{path}.redis.managed.{field}"),
            "has a meaning for the operator on Kubernetes alone: here a managed Redis is a child process that keeps its data in memory; say `managed: {}`, or give the database a `url`",
        );
    }
}
