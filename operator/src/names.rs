//! The names of everything that a gateway owns, and the labels by which it is found.

use std::collections::BTreeMap;

pub use dbx_crds::gateway::pods::{CONFIG_HASH, INSTANCE, selector};
use sha2::{Digest, Sha256};

/// What labels and field managers call the operator.
pub const MANAGER: &str = "dbx-operator";
/// The label that every child has, and that watches select by.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The label that holds the database's name, on what belongs to a managed one.
pub const DATABASE: &str = "dbx.dev/database";

const LONGEST: usize = 52;

/// `<name>-<suffix>`, cut so that what Kubernetes appends still fits; a cut name ends in a hash of the whole.
pub fn child(name: &str, suffix: &str) -> String {
    let whole = format!("{name}-{suffix}");
    if whole.len() <= LONGEST {
        return whole;
    }
    let hash = hash8(whole.as_bytes());
    format!("{}-{hash}", whole[..LONGEST - 9].trim_end_matches('-'))
}

/// The first eight hexadecimal digits of a SHA-256.
pub fn hash8(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes)[..4])
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The Secret of a managed Redis.
pub fn auth(gateway: &str, database: &str) -> String {
    child(gateway, &format!("{database}-auth"))
}

/// The ConfigMap of the keys that a gateway takes.
pub fn keys(gateway: &str) -> String {
    child(gateway, "keys")
}

/// The labels of every object of a component.
pub fn labels(gateway: &str, component: &str) -> BTreeMap<&'static str, String> {
    let mut labels = selector(gateway, component);
    labels.insert(MANAGED_BY, MANAGER.to_owned());
    labels.insert("app.kubernetes.io/part-of", "dbx".to_owned());
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_with_a_hash() {
        assert_eq!(child("cache", "redis"), "cache-redis");
        let long = child(&"a".repeat(40), &"b".repeat(20));
        assert_eq!(long.len(), LONGEST);
        assert_ne!(long, child(&"a".repeat(40), &format!("{}c", "b".repeat(19))));
        assert!(!child(&format!("{}-", "a".repeat(42)), "bbbbbbbbbbbb").contains("--"));
    }
}
