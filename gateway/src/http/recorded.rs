//! What the audit log learns, wherever it is known best: of a call when it has been judged, of what goes on when it may begin, and
//! of what is denied before either, when it is answered.

use std::sync::Arc;

use axum::http::{HeaderValue, request::Parts};
use bytes::Bytes;

use super::Scope;
use crate::{
    error::Error,
    operation::Class,
    record::{Audit, Trail, Who, is_denial},
    worker::Worker,
};

impl<'a> Scope<'a> {
    fn who(&self) -> Who<'a> {
        // Who has still to say who it is stands here as the gateway itself.
        let is_known = !Arc::ptr_eq(self.identity, &self.worker.own);
        Who { id: self.id, identity: is_known.then_some(&*self.identity.name), client: self.client }
    }

    /// Begins the record of a call that has been judged, if there is to be one; of a call that is refused it is the whole. The names,
    /// asked for with whether it is admitted, are those of keys, channels and patterns as the caller knows them.
    pub(super) fn judged<'n, T>(
        &self,
        word: &str,
        class: Class,
        judged: Result<T, Error>,
        names: impl FnOnce(bool) -> Vec<&'n [u8]>,
    ) -> Result<(T, Trail), Error> {
        let is_denied = || judged.as_ref().is_err_and(|error| is_denial(error.code));
        match &self.worker.audit {
            Some(audit) if audit.wants(class) || is_denied() => {
                audit.begin(self.who(), &self.database.name, word, &names(judged.is_ok())).judged(judged)
            }
            _ => judged.map(|value| (value, Trail::NONE)),
        }
    }

    /// Records what goes on once it may begin, such as a subscription, with what it is about as the caller knows it.
    pub(super) fn begun<T>(&self, word: &str, class: Class, names: &[Bytes], judged: Result<T, Error>) -> Result<T, Error> {
        let (value, trail) = self.judged(word, class, judged, |_| names.iter().map(|name| &name[..]).collect())?;
        trail.end(None);
        Ok(value)
    }

    /// Records a denial that nothing else has recorded.
    pub(super) fn denied(&self, path: &str, error: &Error) {
        if let Some(audit) = unrecorded(self.worker, error) {
            audit.refused(self.who(), path, error.code);
        }
    }
}

/// Records that a request was denied before anybody knew who makes it.
pub(super) fn refused(worker: &Worker, parts: &Parts, id: &HeaderValue, error: &Error) {
    if let Some(audit) = unrecorded(worker, error) {
        let who = Who { id: id.to_str().unwrap_or_default(), identity: None, client: super::client(worker, parts) };
        audit.refused(who, super::known(worker, parts.uri.path()), error.code);
    }
}

/// The audit log, if an error is a denial that is not in it.
fn unrecorded<'w>(worker: &'w Worker, error: &Error) -> Option<&'w Audit> {
    worker.audit.as_ref().filter(|_| is_denial(error.code) && !error.recorded)
}
