//! What the operator remembers of each gateway between two looks. All of it can be lost: a restart costs requests, never
//! a change.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Mutex,
    time::Instant,
};

use dbx_crds::gateway::{DatabaseStatus, DbxGatewayStatus};

use crate::{desired::Kind, status::Finding};

/// What was applied to one object.
#[derive(Clone, Debug)]
pub(crate) struct Applied {
    /// The hash of what was said about it.
    pub(crate) desired: u64,
    /// What its metadata looked like then.
    pub(crate) fingerprint: u64,
    /// Its version then.
    pub(crate) resource_version: Option<String>,
    /// Its generation then.
    pub(crate) generation: Option<i64>,
}

/// What a look at references found.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    pub(crate) at: Instant,
    /// The hash of what was looked for.
    pub(crate) subject: u64,
    pub(crate) refs: Result<(), Finding>,
    /// For each managed database the uid of its Secret.
    pub(crate) auth: BTreeMap<String, String>,
    /// Looks in a row that found something missing.
    pub(crate) misses: u32,
}

/// What the pods said.
#[derive(Clone, Debug)]
pub(crate) struct Answers {
    pub(crate) at: Instant,
    /// The hash of the Deployment's status then.
    pub(crate) subject: u64,
    pub(crate) databases: Vec<DatabaseStatus>,
    pub(crate) failure: Option<String>,
}

/// What is remembered of one gateway.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// The gateway's uid: another object of the same name starts anew.
    pub(crate) uid: String,
    pub(crate) applied: HashMap<(Kind, String), Applied>,
    pub(crate) look: Option<Look>,
    pub(crate) answers: Option<Answers>,
    /// Since when pods are being replaced.
    pub(crate) rolling_since: Option<Instant>,
    /// Reconciles in a row that failed.
    pub(crate) failures: u32,
    /// The status that was last written, which may be newer than the one in the cache.
    pub(crate) status: Option<DbxGatewayStatus>,
    /// The revision of keys that the kubelets were hurried for.
    pub(crate) hurried: Option<String>,
    /// The value of the annotation that asks for a look.
    pub(crate) asked: Option<String>,
}

/// The notes of all gateways, by `namespace/name`.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<HashMap<String, Notes>>);

impl Memory {
    /// Takes out a gateway's notes; they are put back when it has been dealt with.
    pub(crate) fn take(&self, key: &str, uid: &str) -> Notes {
        let notes = self.lock().remove(key).filter(|notes| notes.uid == uid);
        notes.unwrap_or_else(|| Notes { uid: uid.into(), ..Notes::default() })
    }

    pub(crate) fn put(&self, key: String, notes: Notes) {
        self.lock().insert(key, notes);
    }

    pub(crate) fn forget(&self, key: &str) {
        self.lock().remove(key);
    }

    /// Counts a failure; says how many there were before.
    pub(crate) fn fail(&self, key: &str) -> u32 {
        let mut all = self.lock();
        let Some(notes) = all.get_mut(key) else { return 0 };
        notes.failures += 1;
        notes.failures - 1
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Notes>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
