//! A caller, as one credential proves it.

use std::{sync::Arc, time::SystemTime};

use tokio_util::sync::CancellationToken;

use super::Rights;
use crate::worker::{Database, Worker};

/// A caller.
#[derive(Debug)]
pub struct Identity {
    /// Its name: `key:web`, `jwt:alice`, `serviceaccount:shop/cart`, `certificate:web.shop`, `anonymous`.
    pub name: String,
    /// The groups that its credential names, as grants do: `group:ops`.
    pub groups: Vec<String>,
    /// When its credential ends by itself.
    pub until: Option<SystemTime>,
    /// Cancelled when its credential is withdrawn before that.
    pub withdrawn: CancellationToken,
    /// By the index of the database.
    rights: Vec<Rights>,
}

impl Identity {
    /// A caller with rights to each database, in the order of the configuration.
    pub fn new(name: String, until: Option<SystemTime>, rights: Vec<Rights>) -> Self {
        Self { name, groups: Vec::new(), until, withdrawn: CancellationToken::new(), rights }
    }

    /// Who may do everything.
    pub fn unrestricted(name: &str, databases: usize) -> Arc<Self> {
        Arc::new(Self::new(name.to_owned(), None, (0..databases).map(|_| Rights::all()).collect()))
    }

    /// What it may do at a database.
    pub fn rights(&self, database: usize) -> &Rights {
        &self.rights[database]
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
