//! A caller, as one credential proves it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::SystemTime,
};

use dbx_crds::config::Grant;
use tokio_util::sync::CancellationToken;

use super::Rights;
use crate::{
    operation::find,
    worker::{Database, Worker},
};

/// The name of who shows no credential.
pub const ANONYMOUS: &str = "anonymous";

/// A caller.
#[derive(Debug)]
pub struct Identity {
    /// Its name: `key:web`, `jwt:alice`, `serviceaccount:shop/cart`, `certificate:web.shop`, `anonymous`.
    pub name: String,
    /// The groups that it is in: `group:ops`.
    pub groups: Vec<String>,
    /// When its credential ends by itself.
    pub until: Option<SystemTime>,
    /// What it was granted, without who else was.
    pub grants: Vec<Grant>,
    /// By the index of the database.
    rights: Vec<Rights>,
    is_withdrawn: AtomicBool,
    withdrawn: CancellationToken,
}

impl Identity {
    /// A caller with rights to each database, in the order of the configuration.
    pub fn new(name: String, groups: Vec<String>, until: Option<SystemTime>, grants: Vec<Grant>, rights: Vec<Rights>) -> Self {
        Self { name, groups, until, grants, rights, is_withdrawn: AtomicBool::new(false), withdrawn: CancellationToken::new() }
    }

    /// Who may do everything.
    pub fn unrestricted(name: &str, databases: usize) -> Arc<Self> {
        let all = Grant { access: vec!["all".to_owned()], ..Grant::default() };
        let rights = (0..databases).map(|_| Rights::all()).collect();
        Arc::new(Self::new(name.to_owned(), Vec::new(), None, vec![all], rights))
    }

    /// What it may do at a database.
    pub fn rights(&self, database: usize) -> &Rights {
        &self.rights[database]
    }

    /// Whether it may administer every database, and so the gateway.
    pub fn is_administrator(&self) -> bool {
        let may = |id| self.rights.iter().all(|rights| rights.may_call(id));
        !self.rights.is_empty() && find("acl_list").is_some_and(may)
    }

    /// Whether no credential was shown.
    pub fn is_anonymous(&self) -> bool {
        self.name == ANONYMOUS
    }

    /// Withdraws its credential before that ends.
    pub fn withdraw(&self) {
        self.is_withdrawn.store(true, Relaxed);
        self.withdrawn.cancel();
    }

    /// Whether its credential was withdrawn; cheap to look at.
    pub fn is_withdrawn(&self) -> bool {
        self.is_withdrawn.load(Relaxed)
    }

    /// Waits until its credential is withdrawn.
    pub async fn withdrawn(&self) {
        self.withdrawn.cancelled().await;
    }

    /// Waits until its credential is withdrawn or has ended.
    pub async fn over(&self) {
        let Some(until) = self.until else { return self.withdrawn().await };
        let left = until.duration_since(SystemTime::now()).unwrap_or_default();
        tokio::select! {
            () = self.withdrawn() => {}
            () = tokio::time::sleep(left) => {}
        }
    }

    /// The database of that index as this caller reaches it: by the gateway's connections, or by those of another ACL user.
    pub fn database<'w>(&self, worker: &'w Worker, index: usize) -> &'w Arc<Database> {
        let database = &worker.databases[index];
        match self.rights(index).backend_user() {
            Some(user) => database.users.get(user).unwrap_or(database),
            None => database,
        }
    }
}

/// Whether a list of identities, as grants and limits of rate hold it, names a caller.
pub fn names(list: &[String], name: &str, groups: &[String]) -> bool {
    let of = |fits: &dyn Fn(&str) -> bool| fits(name) || groups.iter().any(|group| fits(group));
    list.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some("") => name != ANONYMOUS,
        Some(start) => of(&|name| name.starts_with(start)),
        None => of(&|name| name == pattern),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_name_callers() {
        let holds = |pattern: &str, name: &str| names(&[pattern.to_owned()], name, &["group:ops".to_owned()]);
        assert!(holds("anonymous", "anonymous") && !holds("*", "anonymous"));
        assert!(holds("*", "key:web") && holds("key:web", "key:web") && !holds("key:we", "key:web") && !holds("key:web1", "key:web"));
        assert!(
            holds("serviceaccount:shop/*", "serviceaccount:shop/cart") && !holds("serviceaccount:shop/*", "serviceaccount:shopping/cart")
        );
        assert!(holds("group:ops", "jwt:alice") && !holds("group:dev", "jwt:alice"));
        // A group is no caller, whatever it is called.
        assert!(!holds("key:ops", "jwt:alice"));
    }
}
