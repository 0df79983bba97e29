//! What controllers of gateways and of keys know of each other, wherever the objects are: which keys a gateway takes, what is
//! known of each, and which file a gateway's pods can have read. All of it can be lost; it is read again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use dbx_crds::{api_key::DbxApiKey, gateway::DbxGateway};
use futures::channel::mpsc::UnboundedSender;
use kube::{
    Client, ResourceExt,
    runtime::reflector::{ObjectRef, Store},
};

use super::{
    accept::{accept, gateway_of},
    controller::{ApiKey, is_observed},
    file::{Record, render},
    secrets,
};
use crate::{
    children::Gateway,
    controller::{self, Target},
    news::{Name, name_of},
    queue::Urgency,
    scope::Scope,
};

/// What is listed in one scope.
pub(crate) struct Reach {
    pub(crate) scope: Scope,
    pub(crate) gateways: Store<Gateway>,
    pub(crate) keys: Store<ApiKey>,
}

/// What is known of one key.
#[derive(Clone)]
struct Entry {
    uid: String,
    gateway: Name,
    records: Vec<Record>,
}

/// What was last seen of a gateway: its uid and generation, and the revision of its file.
type Seen = (Option<String>, Option<i64>, Option<String>);

pub(crate) struct Registry {
    client: Client,
    reaches: Vec<Reach>,
    /// Has something looked at. What waits in it is bounded by the number of objects times the looks that may run.
    ask: UnboundedSender<(Target, Urgency)>,
    entries: Mutex<HashMap<Name, Entry>>,
    seen: Mutex<HashMap<Name, Seen>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Registry {
    pub(crate) fn new(client: Client, reaches: Vec<Reach>, ask: UnboundedSender<(Target, Urgency)>) -> Self {
        Self { client, reaches, ask, entries: Mutex::default(), seen: Mutex::default() }
    }

    fn reach(&self, namespace: &str) -> Option<&Reach> {
        self.reaches.iter().find(|reach| reach.scope.covers(namespace))
    }

    /// A key, as it is now.
    pub(super) fn key(&self, (namespace, name): &Name) -> Option<Arc<ApiKey>> {
        self.reach(namespace)?.keys.get(&ObjectRef::new(name).within(namespace))
    }

    /// A gateway, when the operator sees it and can read it.
    pub(super) fn gateway(&self, (namespace, name): &Name) -> Option<DbxGateway> {
        let gateway = self.reach(namespace)?.gateways.get(&ObjectRef::new(name).within(namespace))?;
        gateway.0.as_ref().ok().cloned()
    }

    /// The file of the keys that a gateway takes. What is not known of a key yet is read from its Secrets.
    pub(crate) async fn file(&self, gateway: &DbxGateway) -> kube::Result<String> {
        let name = name_of(gateway);
        let mut taken = Vec::new();
        for key in self.keys_of(&name) {
            let Ok(key) = &key.0 else { continue };
            if key.metadata.deletion_timestamp.is_some() || accept(key, Some(gateway)).is_err() {
                continue;
            }
            let known = lock(&self.entries)
                .get(&name_of(key))
                .filter(|entry| Some(&entry.uid) == key.uid().as_ref())
                .map(|entry| entry.records.clone());
            let records = match known {
                Some(records) => records,
                None => {
                    let records = secrets::look(&self.client, key).await?.records();
                    self.enter(key, records.clone());
                    records
                }
            };
            let (namespace, name) = name_of(key);
            taken.push((format!("{namespace}/{name}"), key.spec.clone(), records));
        }
        Ok(render(&taken))
    }

    /// Every key that names a gateway.
    fn keys_of(&self, gateway: &Name) -> Vec<Arc<ApiKey>> {
        let names = |key: &ApiKey| key.0.as_ref().is_ok_and(|key| gateway_of(key) == *gateway);
        self.reaches.iter().flat_map(|reach| reach.keys.state_filter(|key| names(key))).collect()
    }

    /// How urgently the gateway has to be looked at for what is known of a key, if that is news.
    fn enter(&self, key: &DbxApiKey, records: Vec<Record>) -> Option<Urgency> {
        let entry = Entry { uid: key.uid().unwrap_or_default(), gateway: gateway_of(key), records };
        let before = lock(&self.entries).insert(name_of(key), entry.clone());
        let is_new = before.as_ref().is_none_or(|before| before.uid != entry.uid || before.records != entry.records);
        // Nothing is known of any key when the operator starts.
        let urgency = if before.is_none() && is_observed(key) { Urgency::Calm } else { Urgency::Urgent };
        is_new.then_some(urgency)
    }

    /// Takes note of what is known of a key, and has the gateway looked at when that is news.
    pub(super) fn note(&self, key: &DbxApiKey, records: Vec<Record>) {
        if let Some(urgency) = self.enter(key, records) {
            self.look_at_gateway(&gateway_of(key), urgency);
        }
    }

    /// Has a gateway looked at.
    pub(super) fn look_at_gateway(&self, gateway: &Name, urgency: Urgency) {
        // Nobody listens only once the operator ends.
        let _ = self.ask.unbounded_send((Target::Gateway(gateway.clone()), urgency));
    }

    /// Has every gateway looked at, calmly.
    pub(crate) fn look_at_gateways(&self) {
        for reach in &self.reaches {
            reach.gateways.state().iter().for_each(|gateway| self.look_at_gateway(&name_of(&**gateway), Urgency::Calm));
        }
    }

    fn look_at_keys(&self, gateway: &Name, urgency: Urgency) {
        for key in self.keys_of(gateway) {
            let _ = self.ask.unbounded_send((Target::Key(name_of(&*key)), urgency));
        }
    }

    /// Takes note of what became of a gateway, with the revision of its file when that was written; its keys are looked at
    /// when it is news.
    pub(crate) fn saw(&self, gateway: &DbxGateway, revision: Option<String>) {
        let seen = (gateway.uid(), gateway.metadata.generation, revision);
        let name = name_of(gateway);
        let before = lock(&self.seen).insert(name.clone(), seen.clone());
        // Nothing was seen of any gateway when the operator starts.
        let urgency = if before.is_none() && controller::is_observed(gateway) { Urgency::Calm } else { Urgency::Urgent };
        if before != Some(seen) {
            self.look_at_keys(&name, urgency);
        }
    }

    /// Takes note that a gateway is gone.
    pub(crate) fn lost(&self, namespace: &str, name: &str) {
        let name = (namespace.to_owned(), name.to_owned());
        lock(&self.seen).remove(&name);
        self.look_at_keys(&name, Urgency::Urgent);
    }

    /// Whether the file of a revision is the one that was written last for a gateway.
    pub(super) fn is_written(&self, gateway: &DbxGateway, revision: &str) -> bool {
        let seen = lock(&self.seen);
        seen.get(&name_of(gateway)).is_some_and(|(uid, _, written)| *uid == gateway.uid() && written.as_deref() == Some(revision))
    }

    /// Takes note that a key is gone, so that its gateway takes it no more.
    pub(super) fn forget(&self, key: &Name) {
        let entry = lock(&self.entries).remove(key);
        if let Some(entry) = entry {
            self.look_at_gateway(&entry.gateway, Urgency::Urgent);
        }
    }

    /// Takes note that keys were listed anew: some may have gone unseen.
    pub(super) fn relisted(&self, scope: &Scope) {
        let reach = self.reaches.iter().find(|reach| reach.scope == *scope);
        let exists =
            |(namespace, name): &Name| reach.is_some_and(|reach| reach.keys.get(&ObjectRef::new(name).within(namespace)).is_some());
        let gone: Vec<Name> = lock(&self.entries).keys().filter(|name| scope.covers(&name.0) && !exists(name)).cloned().collect();
        gone.iter().for_each(|name| self.forget(name));
    }
}
