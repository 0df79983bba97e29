//! What a caller at an address may do: every limit that holds for it, found once and kept, so that a call touches atomics only.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

use axum::http::HeaderValue;
use serde_json::{Value, json};
use smallvec::SmallVec;

use super::{
    bucket::{Left, Rate, SECOND, seconds, ticks},
    lease::{self, Empty},
    limit::{Limit, State, Unit},
};
use crate::{
    auth::Identity,
    error::{Code, Error, Limited},
    worker::Worker,
};

/// What an identity has going on at once, wherever it calls from.
#[derive(Debug, Default)]
pub(super) struct Own {
    in_flight: AtomicUsize,
    sockets: AtomicUsize,
}

/// How much an identity may have going on at once; none is no limit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AtOnce {
    pub(super) in_flight: Option<usize>,
    pub(super) sockets: Option<usize>,
}

/// A limit that holds for a caller, and what it counts.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) limit: Arc<Limit>,
    pub(super) state: Arc<State>,
}

/// What a caller at an address may do.
#[derive(Debug)]
pub struct Allowance {
    /// As long as this is kept, no other identity is at its place in memory.
    pub(super) _identity: Arc<Identity>,
    /// By the index of the database.
    pub(super) entries: Box<[Box<[Entry]>]>,
    pub(super) own: Arc<Own>,
    pub(super) at_once: AtOnce,
}

impl Allowance {
    /// Lets calls to a database pass, or tells the caller to come back. Nothing is taken when they are refused. The guard counts them
    /// as being served.
    pub fn admit(&self, worker: &Worker, database: usize, calls: usize, now: Option<Instant>) -> Result<Serving, Error> {
        let serving = self.serve(calls)?;
        let entries = self.at(database);
        if entries.is_empty() {
            return Ok(serving);
        }
        let (now, count) = (ticks(now.unwrap_or_else(Instant::now)), calls as u64);
        for (index, entry) in entries.iter().enumerate() {
            if let Err(error) = entry.take(worker, count, now) {
                entry.limit.refuse(count);
                entries[..index].iter().for_each(|entry| entry.limit.give_back(&entry.state, count));
                return Err(error);
            }
        }
        Ok(serving)
    }

    fn serve(&self, calls: usize) -> Result<Serving, Error> {
        let Some(most) = self.at_once.in_flight else { return Ok(Serving(None)) };
        let before = self.own.in_flight.fetch_add(calls, Relaxed);
        let serving = Serving(Some((self.own.clone(), calls)));
        if before + calls > most {
            if calls > most {
                return Err(never(format!("at most {most} calls of one identity are served at once (limits.maxInFlightPerIdentity)")));
            }
            return Err(full("as many calls of this identity are being served as may be (limits.maxInFlightPerIdentity)"));
        }
        Ok(serving)
    }

    fn at(&self, database: usize) -> &[Entry] {
        self.entries.get(database).map_or(&[], |entries| entries)
    }

    /// Each limit once, for one database or for all.
    fn each(&self, database: Option<usize>) -> SmallVec<[&Entry; 4]> {
        let mut each = SmallVec::<[&Entry; 4]>::new();
        let chosen = self.entries.iter().enumerate().filter(|(index, _)| database.is_none_or(|database| database == *index));
        for entry in chosen.flat_map(|(_, entries)| entries) {
            if !each.iter().any(|known| Arc::ptr_eq(&known.state, &entry.state)) {
                each.push(entry);
            }
        }
        each
    }

    /// Counts bytes of requests and results. They are paid for by what follows.
    pub fn owe(&self, database: usize, bytes: usize) {
        for Entry { limit, state } in self.at(database) {
            if let Some(rate) = &limit.bytes {
                state.bytes.owe(rate, bytes as u64, ticks(Instant::now()));
            }
        }
    }

    /// Takes a place for a socket or an event stream, to one database or to all, for as long as the guard lives.
    pub fn seat(&self, database: Option<usize>) -> Result<Seat, Error> {
        let mut seat = Seat::default();
        if let Some(most) = self.at_once.sockets {
            let before = self.own.sockets.fetch_add(1, Relaxed);
            seat.own = Some(self.own.clone());
            if before >= most {
                return Err(full("this identity has as many sockets and event streams as it may (limits.maxSocketsPerIdentity)"));
            }
        }
        for Entry { limit, state } in self.each(database) {
            let Some(most) = limit.sockets else { continue };
            let before = state.sockets.fetch_add(1, Relaxed);
            seat.states.push(state.clone());
            if before >= most {
                limit.refuse(1);
                let detail = format!("rate limit `{}`: {most} sockets and event streams may be open at once", limit.name);
                return Err(full(detail));
            }
        }
        Ok(seat)
    }

    /// The fields `RateLimit-Policy` and `RateLimit` of the limit that is the next to refuse.
    pub fn tightest(&self, database: usize) -> Option<(HeaderValue, HeaderValue)> {
        let now = ticks(Instant::now());
        let all = self.at(database).iter().flat_map(|Entry { limit, state }| limit.left(state, now).map(move |left| (limit, left)));
        let part = |rate: &Rate, left: Left| u128::from(left.remaining) * (1 << 32) / u128::from(rate.burst);
        let (limit, (unit, _, left)) = all.min_by_key(|(_, (_, rate, left))| part(rate, *left))?;
        Some((limit.policy(unit), limit.rest(unit, left.remaining, seconds(left.reset))))
    }

    /// What is left, for `whoami`: limits of one database are told for each.
    pub fn report(&self) -> Value {
        let now = ticks(Instant::now());
        let told = self.each(None).into_iter().flat_map(|Entry { limit, state }| {
            limit.left(state, now).map(move |(unit, _, left)| {
                json!({ "name": format!("{}{}", limit.name, unit.suffix()), "remaining": left.remaining, "resetSeconds": seconds(left.reset) })
            })
        });
        told.collect()
    }
}

impl Entry {
    fn take(&self, worker: &Worker, calls: u64, now: u64) -> Result<(), Error> {
        let Self { limit, state } = self;
        if let Some(rate) = &limit.commands
            && calls > rate.burst
        {
            let most = rate.burst;
            return Err(never(format!("rate limit `{}`: at most {most} calls ever pass at once", limit.name)));
        }
        if let (Some(rate), Some(shared), Some(lease)) = (&limit.commands, &limit.shared, &state.lease)
            && lease.wakes(rate, now)
            && let Some(database) = worker.databases.get(shared.database)
        {
            tokio::spawn(lease::settle(limit.clone(), state.clone(), database.clone()));
        }
        limit.take(state, calls, now).map_err(|empty| match empty {
            Empty::For(wait) => self.refusal(wait, now),
            Empty::Unknown => {
                let detail = format!("rate limit `{}`: the database that counts does not answer, and it has to (onFailure)", limit.name);
                let mut error = Error::new(Code::Unavailable, detail).retryable();
                error.limited = Some(Box::new(Limited { retry_after: 1, fields: None }));
                error
            }
        })
    }

    /// Tells when to come back. It is bytes that are missing if there are commands.
    fn refusal(&self, wait: u64, now: u64) -> Error {
        let Self { limit, state } = self;
        let in_debt = limit.bytes.as_ref().is_some_and(|rate| state.bytes.check(rate, now).is_err());
        let unit = if in_debt { Unit::Bytes } else { Unit::Commands };
        let retry_after = seconds(wait.max(SECOND));
        let what = match unit {
            Unit::Commands => "commands",
            Unit::Bytes => "bytes",
        };
        let detail = format!("rate limit `{}`: no more {what} for now, come back in {retry_after} s", limit.name);
        let mut error = Error::new(Code::RateLimited, detail).retryable();
        let left = limit.left(state, now).find(|(known, ..)| *known == unit);
        let fields = left.map(|(unit, _, left)| (limit.policy(unit), limit.rest(unit, left.remaining, retry_after)));
        error.limited = Some(Box::new(Limited { retry_after, fields }));
        error
    }
}

/// What would be refused again and again.
fn never(detail: String) -> Error {
    Error::new(Code::PipelineTooLarge, detail).param("calls")
}

/// What passes once something else has ended; nobody knows when.
fn full(detail: impl Into<Cow<'static, str>>) -> Error {
    let mut error = Error::new(Code::RateLimited, detail).retryable();
    error.limited = Some(Box::new(Limited { retry_after: 1, fields: None }));
    error
}

/// Calls of an identity that are being served, while this lives.
#[derive(Debug, Default)]
pub struct Serving(Option<(Arc<Own>, usize)>);

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some((own, calls)) = &self.0 {
            own.in_flight.fetch_sub(*calls, Relaxed);
        }
    }
}

/// A place for a socket or an event stream, while this lives.
#[derive(Debug, Default)]
pub struct Seat {
    own: Option<Arc<Own>>,
    states: SmallVec<[Arc<State>; 2]>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(own) = &self.own {
            own.sockets.fetch_sub(1, Relaxed);
        }
        self.states.iter().for_each(|state| {
            state.sockets.fetch_sub(1, Relaxed);
        });
    }
}
