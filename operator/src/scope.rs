//! Where the operator works: in every namespace, or in each of some, with rights in those alone.

use k8s_openapi::NamespaceResourceScope;
use kube::{Api, Client, Resource, core::DynamicResourceScope};

/// What one list or watch covers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scope {
    /// Every namespace.
    All,
    /// One.
    Namespace(String),
}

impl Scope {
    /// Those that cover the named namespaces, and all namespaces when none is named.
    pub(crate) fn of(namespaces: &[String]) -> Vec<Self> {
        let mut names: Vec<&String> = namespaces.iter().filter(|name| !name.is_empty()).collect();
        names.sort_unstable();
        names.dedup();
        match names.is_empty() {
            true => vec![Self::All],
            false => names.into_iter().cloned().map(Self::Namespace).collect(),
        }
    }

    /// Whether it covers a namespace.
    pub(crate) fn covers(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Namespace(name) => name == namespace,
        }
    }

    /// What is listed and watched of a kind.
    pub(crate) fn api<K>(&self, client: &Client) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        match self {
            Self::All => Api::all(client.clone()),
            Self::Namespace(name) => Api::namespaced(client.clone(), name),
        }
    }

    /// The same of a kind that is known by name.
    pub(crate) fn api_with<K>(&self, client: &Client, kind: &K::DynamicType) -> Api<K>
    where
        K: Resource<Scope = DynamicResourceScope>,
    {
        match self {
            Self::All => Api::all_with(client.clone(), kind),
            Self::Namespace(name) => Api::namespaced_with(client.clone(), name, kind),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_named_is_everything() {
        assert_eq!(Scope::of(&[]), [Scope::All]);
        assert_eq!(Scope::of(&[String::new()]), [Scope::All]);
        let named = ["b", "a", "b"].map(str::to_owned);
        assert_eq!(Scope::of(&named), [Scope::Namespace("a".into()), Scope::Namespace("b".into())]);
    }
}
