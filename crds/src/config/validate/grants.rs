//! The mistakes of grants, wherever they stand.

use super::{Findings, Invalid};
use crate::config::{Database, Effect, GatewayConfig, Grant};

impl GatewayConfig {
    /// What this configuration does not have of what the grants of a key speak of. Their other mistakes are told when the
    /// file of keys is read.
    pub fn validate_grants(&self, grants: &[Grant]) -> Vec<Invalid> {
        let mut findings = Findings::default();
        for (index, grant) in grants.iter().enumerate() {
            self.check_references(grant, &format!("grants[{index}]"), &mut findings);
        }
        findings.0
    }

    pub(super) fn check_grant(&self, grant: &Grant, path: &str, findings: &mut Findings) {
        check_form(grant, path, findings);
        self.check_references(grant, path, findings);
    }

    fn check_references(&self, grant: &Grant, path: &str, findings: &mut Findings) {
        self.check_names(&grant.databases, &format!("{path}.databases"), findings);
        if let Some(user) = &grant.backend_user {
            let of = |database: &&Database| grant.databases.is_empty() || grant.databases.contains(&database.name);
            let has = |database: &Database| database.redis.iter().flat_map(|redis| &redis.users).any(|known| known.name == *user);
            if let Some(database) = self.databases.iter().filter(of).find(|database| !has(database)) {
                findings.add(format!("{path}.backendUser"), format!("database `{}` has no such user in `redis.users`", database.name));
            }
        }
    }
}

/// Every mistake of grants that stand beside a key, but for those that depend on a configuration.
pub(crate) fn own_grants(grants: &[Grant], path: &str) -> Vec<Invalid> {
    let mut findings = Findings::default();
    for (index, grant) in grants.iter().enumerate() {
        let path = format!("{path}.grants[{index}]");
        if !grant.to.is_empty() {
            findings.add(format!("{path}.to"), "these are the grants of this key alone");
        }
        check_form(grant, &path, &mut findings);
    }
    findings.0
}

fn check_form(grant: &Grant, path: &str, findings: &mut Findings) {
    if grant.access.is_empty() {
        findings.add(
            format!("{path}.access"),
            "expected at least one of `read`, `write`, `publish`, `subscribe`, `admin`, `all`, `+@category`, the name of an operation",
        );
    }
    if grant.effect == Effect::Deny && (grant.prefix.is_some() || grant.backend_user.is_some()) {
        findings.add(format!("{path}.effect"), "what is refused has neither `prefix` nor `backendUser`");
    }
    if grant.prefix.as_deref() == Some("") {
        findings.add(format!("{path}.prefix"), "expected at least one character; leave it out for none");
    }
}
