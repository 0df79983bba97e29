//! The loop of a consumer: entries of a stream for a group, each handed out until somebody acknowledges it. What this consumer
//! was handed before comes first, then what is new, and what others have left lying; an entry that nobody could deal with is
//! moved aside.

use std::{borrow::Cow, collections::HashSet, str::FromStr, time::Duration};

use bytes::{Bytes, BytesMut};
use dbx_crds::config;
use futures::{FutureExt, future::BoxFuture};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::{sync::mpsc, time::Instant};

use super::{
    super::{
        entries::{self, check, command, ids, is_passing, of_one, pauses},
        request,
    },
    flow::{Ack, Outlet},
};
use crate::{
    error::{Code, Error},
    operation,
    resp::{self, Item, Reader},
    worker::Database,
};

/// How long the server is asked to wait at a time.
const WAIT: Duration = Duration::from_secs(20);
/// Entries that are handed out and not acknowledged, unless the call says otherwise.
const PREFETCH: usize = 100;
/// The most that a call may ask for.
const MOST: usize = 10_000;
/// Entries of others are looked at in turns of so many.
const AT_ONCE: usize = 100;
/// How long an entry has to lie before another consumer takes it, unless the call says otherwise.
const CLAIM_AFTER: Duration = Duration::from_secs(60);

const SHAPE: &str = "{\"key\": …, \"group\": …, \"consumer\": …, \"from\"?: \"0\", \"prefetch\"?: 100, \"claimAfter\"?: \"60s\", \
                     \"maxDeliveries\"?: 5, \"aside\"?: \"the key of another stream\"}";

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Given<'a> {
    #[serde(borrow)]
    key: &'a RawValue,
    #[serde(borrow)]
    group: Cow<'a, str>,
    #[serde(borrow)]
    consumer: Cow<'a, str>,
    #[serde(borrow, default)]
    from: Option<Cow<'a, str>>,
    #[serde(default)]
    prefetch: Option<usize>,
    #[serde(borrow, default)]
    claim_after: Option<Cow<'a, str>>,
    #[serde(default)]
    max_deliveries: Option<u64>,
    #[serde(borrow, default)]
    aside: Option<&'a RawValue>,
}

/// What a consumer wants.
pub(super) struct Consumer {
    key: Bytes,
    group: String,
    name: String,
    from: String,
    prefetch: usize,
    claim_after: Duration,
    aside: Option<(u64, Bytes)>,
}

impl Consumer {
    /// Reads the arguments of `consume`; `key` reads that of the stream, `other` that of the stream where entries are moved to.
    pub(super) fn read(
        document: &[u8],
        key: impl Fn(&RawValue) -> Result<Bytes, Error>,
        other: impl Fn(&RawValue) -> Result<Bytes, Error>,
    ) -> Result<Self, Error> {
        let given: Given<'_> = request::document(document, "args", SHAPE)?;
        let invalid = |detail: &'static str, param: &'static str| Error::new(Code::InvalidArgument, detail).param(param);
        let from = given.from.as_deref().unwrap_or("0");
        if from != "$" && !entries::is_id(from) {
            return Err(invalid("expected `$` for what is added from now on, or the id of an entry", "from"));
        }
        if given.group.is_empty() || given.consumer.is_empty() {
            return Err(invalid("a group and a consumer have names", if given.group.is_empty() { "group" } else { "consumer" }));
        }
        let prefetch = given.prefetch.unwrap_or(PREFETCH);
        if !(1..=MOST).contains(&prefetch) {
            return Err(invalid("expected 1 to 10000", "prefetch"));
        }
        let claim_after = match &given.claim_after {
            None => CLAIM_AFTER,
            Some(text) => config::Duration::from_str(text).map_err(|_| invalid("expected a duration such as 60s", "claimAfter"))?.value(),
        };
        let aside = match (given.max_deliveries, given.aside) {
            (None, None) => None,
            (Some(most @ 1..), Some(aside)) => Some((most, other(aside).map_err(|error| error.param("aside"))?)),
            (Some(0), _) => return Err(invalid("expected at least 1", "maxDeliveries")),
            _ => return Err(invalid("`maxDeliveries` and `aside`, where entries go after so many, belong together", "aside")),
        };
        Ok(Self {
            key: key(given.key)?,
            group: given.group.into_owned(),
            name: given.consumer.into_owned(),
            from: from.to_owned(),
            prefetch,
            claim_after: claim_after.max(Duration::from_millis(100)),
            aside,
        })
    }
}

/// Runs the loop until it is ended. Errors are those after which there is nothing to be had.
pub(super) async fn run(outlet: &Outlet, consumer: Consumer, acks: mpsc::Receiver<Ack>) -> Result<(), Error> {
    Loop { outlet, consumer, acks, outstanding: HashSet::new(), interrupted: false }.run().await
}

struct Loop<'a> {
    outlet: &'a Outlet,
    consumer: Consumer,
    acks: mpsc::Receiver<Ack>,
    /// What was handed out and not acknowledged.
    outstanding: HashSet<Bytes>,
    interrupted: bool,
}

type Reading = BoxFuture<'static, Result<Bytes, Error>>;

impl Loop<'_> {
    fn database(&self) -> &Database {
        self.outlet.caller.database(self.outlet.database)
    }

    async fn send(&self, words: &[&[u8]]) -> Result<Bytes, Error> {
        command(self.database(), words).await
    }

    async fn run(mut self) -> Result<(), Error> {
        self.create().await?;
        self.outlet.begun();
        let mut backoff = None;
        loop {
            let ended = self.serve().await;
            let Err(error) = ended else { return Ok(()) };
            if !is_passing(&error) {
                return Err(error);
            }
            if !std::mem::replace(&mut self.interrupted, true) {
                self.outlet.tell(b",\"interrupted\":true}").await;
                backoff = Some(pauses());
            }
            let pause = backoff.as_mut().and_then(Iterator::next).unwrap_or(Duration::from_secs(1));
            tokio::time::sleep(pause).await;
        }
    }

    /// Makes the group if there is none.
    async fn create(&self) -> Result<(), Error> {
        let Consumer { key, group, from, .. } = &self.consumer;
        match self.send(&[b"XGROUP", b"CREATE", key, group.as_bytes(), from.as_bytes(), b"MKSTREAM"]).await {
            Err(error) if error.code == Code::Conflict => Ok(()),
            made => made.map(|_| ()),
        }
    }

    /// Hands out entries until the database fails, or the client is gone.
    async fn serve(&mut self) -> Result<(), Error> {
        self.redeliver().await?;
        if std::mem::take(&mut self.interrupted) {
            self.outlet.tell(b",\"resumed\":true}").await;
        }
        let mut reading: Option<Reading> = None;
        let mut claims = tokio::time::interval((self.consumer.claim_after / 2).max(Duration::from_millis(50)));
        claims.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let room = self.consumer.prefetch.saturating_sub(self.outstanding.len());
            if reading.is_none() && room > 0 {
                reading = Some(self.read(room.min(AT_ONCE)));
            }
            tokio::select! {
                ack = self.acks.recv() => match ack {
                    Some(ack) => self.acknowledge(ack).await?,
                    None => return Ok(()),
                },
                read = async { reading.as_mut().map_or_else(|| futures::future::pending().left_future(), FutureExt::right_future).await } => {
                    reading = None;
                    if let Some(found) = of_one(&read?) {
                        self.hand_out(&found, b"").await?;
                    }
                }
                _ = claims.tick() => self.claim().await?,
            }
        }
    }

    /// Hands out entries that wait for an acknowledgement from now on.
    async fn hand_out(&mut self, found: &Bytes, more: &[u8]) -> Result<(), Error> {
        self.outstanding.extend(ids(found).map(Bytes::copy_from_slice));
        match entries::each(found).next() {
            Some(_) => self.outlet.entries(found, more).await,
            None => Ok(()),
        }
    }

    /// Hands out what this consumer was handed before, and nobody has acknowledged.
    async fn redeliver(&mut self) -> Result<(), Error> {
        let Consumer { key, group, name, .. } = &self.consumer;
        let (key, group, name) = (key.clone(), group.clone(), name.clone());
        let mut last = Bytes::from_static(b"0");
        loop {
            let count = AT_ONCE.to_string();
            let words: [&[u8]; 9] =
                [b"XREADGROUP", b"GROUP", group.as_bytes(), name.as_bytes(), b"COUNT", count.as_bytes(), b"STREAMS", &key, &last];
            let Some(found) = of_one(&self.send(&words).await?) else { return Ok(()) };
            let Some(end) = ids(&found).last().map(Bytes::copy_from_slice) else { return Ok(()) };
            // What the client has already is not handed out a second time by the same loop.
            let fresh: Vec<&[u8]> = entries::each(&found)
                .filter(|entry| !is_deleted(entry) && entries::id(entry).is_some_and(|id| !self.outstanding.contains(id)))
                .collect();
            let fresh = list(&fresh);
            self.hand_out(&fresh, b",\"redelivered\":true").await?;
            last = end;
        }
    }

    fn read(&self, count: usize) -> Reading {
        let Consumer { key, group, name, .. } = &self.consumer;
        let (count, wait) = (count.to_string(), WAIT.as_millis().to_string());
        let words: [&[u8]; 11] = [
            b"XREADGROUP",
            b"GROUP",
            group.as_bytes(),
            name.as_bytes(),
            b"COUNT",
            count.as_bytes(),
            b"BLOCK",
            wait.as_bytes(),
            b"STREAMS",
            key,
            b">",
        ];
        let mut command = BytesMut::new();
        resp::write_command(&mut command, &words);
        let Some(operation) = operation::find("xreadgroup") else {
            return Box::pin(std::future::ready(Err(super::super::unknown_operation())));
        };
        let waiting = self.database().backend.wait(operation, command.freeze(), Instant::now() + 2 * WAIT);
        Box::pin(async move {
            // What was read and not handed out stays with this consumer, who is handed it when it comes back.
            let taken = waiting.await.map_err(|failure| failure.error(true))?;
            let frame = check(taken.frame.clone());
            taken.delivered();
            frame
        })
    }

    async fn acknowledge(&mut self, ack: Ack) -> Result<(), Error> {
        let Consumer { key, group, .. } = &self.consumer;
        let mut words: Vec<&[u8]> = vec![b"XACK", key, group.as_bytes()];
        words.extend(ack.entries.iter().map(|id| &id[..]));
        let done = self.send(&words).await.map(|frame| match Reader::new(&frame).read() {
            Ok(Item::Integer(count)) => std::str::from_utf8(count).ok().and_then(|count| count.parse().ok()).unwrap_or(0),
            _ => 0,
        });
        if done.is_ok() {
            ack.entries.iter().for_each(|id| {
                self.outstanding.remove(id);
            });
        }
        self.outlet.answer(ack.id, done);
        Ok(())
    }

    /// Takes over what others have left lying, and moves aside what was handed out too often.
    async fn claim(&mut self) -> Result<(), Error> {
        let Consumer { key, group, name, claim_after, aside, .. } = &self.consumer;
        let (key, group, name, aside) = (key.clone(), group.clone(), name.clone(), aside.clone());
        let idle = claim_after.as_millis().to_string();
        let count = AT_ONCE.to_string();
        let words: [&[u8]; 8] = [b"XPENDING", &key, group.as_bytes(), b"IDLE", idle.as_bytes(), b"-", b"+", count.as_bytes()];
        let frame = self.send(&words).await?;
        let mut claimed = Vec::new();
        for pending in entries::each(&frame) {
            let Some((id, deliveries)) = pending_entry(pending) else { continue };
            match &aside {
                Some((most, aside)) if deliveries >= *most => {
                    self.move_aside(&key, aside, &group, id).await?;
                    self.outstanding.remove(id);
                }
                _ if self.outstanding.contains(id) => {}
                _ if claimed.len() + self.outstanding.len() < self.consumer.prefetch => claimed.push(id),
                _ => {}
            }
        }
        if claimed.is_empty() {
            return Ok(());
        }
        let mut words: Vec<&[u8]> = vec![b"XCLAIM", &key, group.as_bytes(), name.as_bytes(), idle.as_bytes()];
        words.extend(claimed);
        let found = self.send(&words).await?;
        // An entry that was deleted meanwhile is null to an old server, and not there to a new one.
        let found = list(&entries::each(&found).filter(|entry| entry.starts_with(b"*2")).collect::<Vec<_>>());
        self.hand_out(&found, b",\"redelivered\":true").await
    }

    async fn move_aside(&self, key: &[u8], aside: &[u8], group: &str, id: &[u8]) -> Result<(), Error> {
        let script = include_str!("../../operation/scripts/move_entry.lua");
        self.send(&[b"EVAL", script.as_bytes(), b"2", key, aside, group.as_bytes(), id]).await.map(|_| ())
    }
}

/// Frames as the elements of one.
fn list(frames: &[&[u8]]) -> Bytes {
    let mut out = BytesMut::new();
    resp::write_array(&mut out, frames.len());
    frames.iter().for_each(|frame| out.extend_from_slice(frame));
    out.freeze()
}

/// Whether an entry is pending and has no fields any more.
fn is_deleted(entry: &[u8]) -> bool {
    entry.ends_with(b"*-1\r\n") || entry.ends_with(b"$-1\r\n")
}

/// The id of a pending entry, and how often it was handed out.
fn pending_entry(pending: &[u8]) -> Option<(&[u8], u64)> {
    let mut reader = Reader::new(pending);
    reader.read().ok()?;
    let (Item::Bulk(Some(id)), Item::Bulk(_), Item::Integer(_), Item::Integer(deliveries)) =
        (reader.read().ok()?, reader.read().ok()?, reader.read().ok()?, reader.read().ok()?)
    else {
        return None;
    };
    Some((id, std::str::from_utf8(deliveries).ok()?.parse().ok()?))
}
