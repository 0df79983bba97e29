//! The Certificate of cert-manager, for every name that the gateway is called by.

use kube::ResourceExt;
use serde_json::json;

use super::{Input, Kind, Object, inside, object, outside};

pub(super) fn desired(input: Input<'_>) -> Option<Object> {
    let certificate = input.gateway.spec.certificate.as_ref()?;
    let mut names = inside(input.gateway).to_vec();
    for name in outside(input.gateway).chain(certificate.dns_names.iter().map(String::as_str)) {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    let issuer = &certificate.issuer_ref;
    let rest = json!({
        "spec": {
            "secretName": certificate.secret_name,
            "dnsNames": names,
            "privateKey": { "algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always" },
            "issuerRef": {
                "name": issuer.name,
                "kind": issuer.kind.as_deref().unwrap_or("Issuer"),
                "group": issuer.group.as_deref().unwrap_or("cert-manager.io"),
            },
        },
    });
    Some(object(input, Kind::Certificate, input.gateway.name_any(), "gateway", rest))
}
