//! Who may call: issuers, identities and what they are granted.

use super::Findings;
use crate::config::{GatewayConfig, Jwt};

impl GatewayConfig {
    pub(super) fn check_auth(&self, findings: &mut Findings) {
        for (index, jwt) in self.auth.jwt.iter().enumerate() {
            check_jwt(jwt, &format!("auth.jwt[{index}]"), findings);
        }
        for (index, grant) in self.auth.grants.iter().enumerate() {
            let path = format!("auth.grants[{index}]");
            if grant.to.is_empty() {
                findings.add(format!("{path}.to"), "expected identities, such as `key:web`, or `*` for all that have shown a credential");
            }
            self.check_identities(&grant.to, &format!("{path}.to"), findings);
            self.check_grant(grant, &path, findings);
        }
    }

    pub(super) fn check_identities(&self, names: &[String], path: &str, findings: &mut Findings) {
        const KINDS: [&str; 5] = ["key:", "jwt:", "serviceaccount:", "certificate:", "group:"];
        for (index, name) in names.iter().enumerate() {
            let known = KINDS.iter().any(|kind| name.strip_prefix(kind).is_some_and(|rest| !rest.is_empty()));
            if !known && !matches!(name.as_str(), "*" | "anonymous") {
                findings.add(
                    format!("{path}[{index}]"),
                    "expected `key:…`, `jwt:…`, `serviceaccount:…`, `certificate:…`, `group:…`, `anonymous` or `*`",
                );
            }
        }
    }

    pub(super) fn check_names(&self, names: &[String], path: &str, findings: &mut Findings) {
        for (index, name) in names.iter().enumerate() {
            if !self.databases.iter().any(|database| database.name == *name) {
                findings.add(format!("{path}[{index}]"), format!("there is no database `{name}`"));
            }
        }
    }
}

fn check_jwt(jwt: &Jwt, path: &str, findings: &mut Findings) {
    let of_an_issuer = [
        ("issuer", jwt.issuer.is_some()),
        ("jwksUrl", jwt.jwks_url.is_some()),
        ("jwksFrom", jwt.jwks_from.is_some()),
        ("caFrom", jwt.ca_from.is_some()),
        ("identityClaim", jwt.identity_claim.is_some()),
        ("groupsClaim", jwt.groups_claim.is_some()),
    ];
    if jwt.kubernetes.is_some() {
        for (name, _) in of_an_issuer.iter().filter(|(_, given)| *given) {
            findings.add(format!("{path}.{name}"), "is known from the cluster when `kubernetes` is given");
        }
        return;
    }
    if jwt.issuer.is_none() {
        findings.add(format!("{path}.issuer"), "expected what the tokens name as their issuer, or `kubernetes: {}`");
    }
    match (&jwt.jwks_url, &jwt.jwks_from) {
        (None, None) => findings.add(path, "expected `jwksUrl` or `jwksFrom`, where the issuer's public keys are"),
        (Some(_), Some(_)) => findings.add(path, "`jwksUrl` and `jwksFrom` exclude each other"),
        (Some(url), None) => {
            let parsed = url::Url::parse(url).ok().filter(|url| url.username().is_empty() && url.password().is_none());
            let is_local = |url: &url::Url| match url.host() {
                Some(url::Host::Domain(name)) => name == "localhost",
                Some(url::Host::Ipv4(address)) => address.is_loopback(),
                Some(url::Host::Ipv6(address)) => address.is_loopback(),
                None => false,
            };
            if !parsed.is_some_and(|url| url.scheme() == "https" || (url.scheme() == "http" && is_local(&url))) {
                findings
                    .add(format!("{path}.jwksUrl"), "expected https://host/path without credentials; http:// only for this machine itself");
            }
        }
        _ => {}
    }
}
