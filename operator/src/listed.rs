//! Knows when everything was listed once. Before that, what exists would look absent. A reflector's own way to wait wakes
//! only the last task that waits (kube 5.0), and many do here.

use std::{collections::HashSet, sync::Mutex, sync::PoisonError};

use kube::runtime::watcher::Event;
use tokio::sync::watch;

use crate::scope::Scope;

/// The lists that are still missing.
#[derive(Debug)]
pub(crate) struct Listed {
    missing: Mutex<HashSet<(&'static str, Scope)>>,
    all: watch::Sender<bool>,
}

impl Listed {
    pub(crate) fn new(lists: impl IntoIterator<Item = (&'static str, Scope)>) -> Self {
        Self { missing: Mutex::new(lists.into_iter().collect()), all: watch::Sender::new(false) }
    }

    /// Takes note of a watch's event that has reached its store.
    pub(crate) fn note<K, E>(&self, kind: &'static str, scope: &Scope, event: &Result<Event<K>, E>) {
        if matches!(event, Ok(Event::InitDone)) {
            self.skip(kind, scope);
        }
    }

    /// Takes note that a list is not to be waited for.
    pub(crate) fn skip(&self, kind: &'static str, scope: &Scope) {
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        missing.remove(&(kind, scope.clone()));
        self.all.send_if_modified(|all| std::mem::replace(all, missing.is_empty()) != missing.is_empty());
    }

    /// Whether everything was listed.
    pub(crate) fn is_complete(&self) -> bool {
        *self.all.borrow()
    }

    /// Waits until everything was listed.
    pub(crate) async fn complete(&self) {
        // The sender is part of self, so it cannot be gone.
        let _ = self.all.subscribe().wait_for(|all| *all).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everybody_who_waits_is_woken() {
        let listed = std::sync::Arc::new(Listed::new([("a", Scope::All), ("b", Scope::All)]));
        let done: Result<Event<()>, ()> = Ok(Event::InitDone);
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let listed = listed.clone();
                tokio::spawn(async move { listed.complete().await })
            })
            .collect();
        tokio::task::yield_now().await;
        listed.note("a", &Scope::All, &done);
        listed.note("a", &Scope::All, &done);
        assert!(!listed.is_complete());
        listed.note("b", &Scope::All, &done);
        assert!(listed.is_complete());
        for task in waiting {
            task.await.unwrap();
        }
    }
}
