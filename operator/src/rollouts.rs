//! A newer operator brings a newer gateway, and rolls every gateway that does not name its version: a few at a time, so that
//! a version that does not start stops at those.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use dbx_crds::gateway::DbxGateway;
use kube::ResourceExt;

use crate::desired::{image, of_version};

/// The gateways that are being rolled to a newer version. It is lost with the operator, and then a few more may roll.
pub(crate) struct Rollouts {
    most: usize,
    running: Mutex<HashSet<String>>,
}

impl Rollouts {
    pub(crate) fn new(most: u16) -> Self {
        Self { most: most.into(), running: Mutex::default() }
    }

    /// The image of a gateway that does not name its version, now: the operator's, or while too many others are rolled the one
    /// that it runs, of this version.
    pub(crate) fn image(&self, gateway: &DbxGateway, applied: Option<&str>, wanted: &str) -> Option<String> {
        let named = gateway.spec.image.as_ref().is_some_and(|image| image.tag.is_some() || image.digest.is_some());
        let applied = applied.filter(|applied| !named && *applied != image(gateway, wanted).1)?;
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let key = key(&gateway.namespace().unwrap_or_default(), &gateway.name_any());
        let may = running.contains(&key) || (running.len() < self.most && running.insert(key));
        (!may).then(|| of_version(wanted, applied))
    }

    /// A gateway runs what it should, or is gone.
    pub(crate) fn end(&self, namespace: &str, name: &str) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&key(namespace, name));
    }
}

fn key(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_at_a_time() {
        let gateway =
            |name: &str, image: &str| DbxGateway::new(name, serde_yaml::from_str(&format!("{{ config: {{}}, image: {image} }}")).unwrap());
        let (a, b, named) = (gateway("a", "{}"), gateway("b", "{ repository: mine }"), gateway("c", "{ tag: '1' }"));
        let rollouts = Rollouts::new(1);
        assert_eq!(rollouts.image(&a, None, "r:2"), None, "a new one does not wait");
        assert_eq!(rollouts.image(&a, Some("2"), "r:2"), None);
        assert_eq!(rollouts.image(&a, Some("1"), "r:2"), None, "the first may roll");
        assert_eq!(rollouts.image(&b, Some("1"), "r:2").as_deref(), Some("r:1"));
        assert_eq!(rollouts.image(&b, Some("sha256:0"), "r:2").as_deref(), Some("r@sha256:0"));
        assert_eq!(rollouts.image(&named, Some("0"), "r:2"), None, "it is its author who rolls it");
        assert_eq!(rollouts.image(&a, Some("1"), "r:2"), None);
        rollouts.end("", "a");
        assert_eq!(rollouts.image(&b, Some("1"), "r:2"), None);
    }
}
