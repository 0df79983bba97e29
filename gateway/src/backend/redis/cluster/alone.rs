//! A connection of a call's own in a cluster: at the node that has the call's keys. A node that says that another has them has
//! carried out nothing, so the call goes there, on a connection of its own again.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use smallvec::smallvec;
use tokio::time::Instant;

use super::{
    Cluster, Node,
    gather::{HOPS, Redirect, redirect},
    plan::{asking, slot_of, together},
};
use crate::{
    backend::{Backend, Committed, Failure, Own, Replies, Where},
    error::{Code, Delivery},
    operation::{position::keys, resolve::resolve},
    resp::{take_frame, words},
};

struct Alone {
    cluster: Arc<Cluster>,
    node: Arc<Node>,
    slot: Option<usize>,
    own: Box<dyn Own>,
    /// It is kept for long.
    held: bool,
    /// Keys are watched here: what follows has to be here too.
    watching: bool,
}

/// What a call finds out only after it was sent is a conflict with nobody: it may be sent again.
const MOVES: Failure =
    Failure { code: Code::Unavailable, detail: "the keys are moving to another node; nothing was done", delivery: Delivery::NotSent };
const APART: Failure =
    Failure { code: Code::CrossSlot, detail: "the keys do not live in the same slot; nothing was done", delivery: Delivery::Answered };

/// A connection for some commands, whose keys have to live in one slot.
pub(super) async fn own<'a>(cluster: &'a Arc<Cluster>, commands: &'a [u8], held: bool, deadline: Instant) -> Result<Box<dyn Own>, Failure> {
    let (mut rest, mut slot, mut everywhere) = (commands, None, false);
    while let Some(command) = take_frame(&mut rest) {
        let words = words(command);
        let operation = resolve(&words);
        let found = slot_of(&keys(operation, &words)).map_err(|_| APART)?;
        everywhere |= found.is_none() && together(operation).is_some();
        if slot.is_some() && found.is_some() && slot != found {
            return Err(APART);
        }
        slot = slot.or(found);
    }
    if everywhere {
        return Ok(Box::new(Everywhere(cluster.clone())));
    }
    let node = cluster.node_for(slot)?;
    let own = at(&node, held, deadline).await?;
    Ok(Box::new(Alone { cluster: cluster.clone(), node, slot, own, held, watching: false }))
}

/// A connection to one node.
async fn at(node: &Node, held: bool, deadline: Instant) -> Result<Box<dyn Own>, Failure> {
    if held { node.redis.hold(&[], deadline).await } else { node.redis.own(&[], deadline).await }
}

impl Alone {
    /// Goes on at another node, if that is what a frame says. Whether it did, and only for this call.
    async fn follow(&mut self, frame: &[u8], deadline: Instant) -> Result<Option<Redirect>, Failure> {
        let Some(redirect) = redirect(frame, &self.node.host) else { return Ok(None) };
        let node = self.cluster.redirected(&redirect);
        // It would wait for the connection that it has.
        if Arc::ptr_eq(&node, &self.node) {
            return Ok(Some(redirect));
        }
        tokio::time::timeout_at(deadline, node.connected()).await.map_err(|_| MOVES)?;
        let own = at(&node, self.held, deadline).await?;
        std::mem::replace(&mut self.own, own).give_back();
        self.node = node;
        Ok(Some(redirect))
    }
}

impl Own for Alone {
    fn exchange<'a>(&'a mut self, commands: &'a [u8], replies: Replies, deadline: Instant) -> BoxFuture<'a, Result<Bytes, Failure>> {
        Box::pin(async move {
            let mut frames = self.own.exchange(commands, replies.clone(), deadline).await?;
            // Of several commands some may have been carried out.
            if replies.len() > 1 {
                return Ok(frames);
            }
            for _ in 0..HOPS {
                let Some(redirect) = self.follow(&frames, deadline).await? else { return Ok(frames) };
                frames = match redirect.asking {
                    false => self.own.exchange(commands, replies.clone(), deadline).await?,
                    true => {
                        let both = self.own.exchange(&asking(commands), smallvec![false, replies[0]], deadline).await?;
                        let mut rest = &both[..];
                        take_frame(&mut rest);
                        both.slice_ref(rest)
                    }
                };
            }
            Err(MOVES)
        })
    }

    fn watch<'a>(
        &'a mut self,
        keys: &'a [&'a [u8]],
        reads: &'a [u8],
        count: usize,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Bytes, Failure>> {
        Box::pin(async move {
            let slot = slot_of(keys).map_err(|_| APART)?;
            if slot.is_some() && self.slot.is_some() && slot != self.slot {
                return Err(APART);
            }
            if self.slot.is_none()
                && let Some(slot) = slot
            {
                self.slot = Some(slot);
                self.node = self.cluster.node_for(Some(slot))?;
                let own = at(&self.node, self.held, deadline).await?;
                std::mem::replace(&mut self.own, own).give_back();
            }
            for _ in 0..HOPS {
                let frames = self.own.watch(keys, reads, count, deadline).await?;
                let mut rest = &frames[..];
                let away = std::iter::from_fn(|| take_frame(&mut rest)).find(|frame| redirect(frame, &self.node.host).is_some());
                let Some(away) = away else {
                    self.watching = true;
                    return Ok(frames);
                };
                // Some of the keys may be watched here.
                self.own.forget(deadline).await?;
                if away.starts_with(b"-ASK ") || self.follow(away, deadline).await?.is_none() {
                    return Err(MOVES);
                }
            }
            Err(MOVES)
        })
    }

    fn forget(&mut self, deadline: Instant) -> BoxFuture<'_, Result<(), Failure>> {
        self.watching = false;
        self.own.forget(deadline)
    }

    fn commit<'a>(
        &'a mut self,
        commands: &'a [u8],
        count: usize,
        droppable: bool,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Committed, Failure>> {
        Box::pin(async move {
            for _ in 0..=HOPS {
                let committed = self.own.commit(commands, count, droppable, deadline).await?;
                let Committed::Refused(_, line) = &committed else { return Ok(committed) };
                if self.watching && redirect(line, &self.node.host).is_some() {
                    return Err(MOVES);
                }
                let Some(redirect) = self.follow(line, deadline).await? else { return Ok(committed) };
                if redirect.asking {
                    // It holds until EXEC.
                    self.own.exchange(super::gather::ASKING, smallvec![false], deadline).await?;
                }
            }
            Err(MOVES)
        })
    }

    fn give_back(self: Box<Self>) {
        self.own.give_back();
    }
}

/// For what all primaries have a part in: there is no one connection for it.
struct Everywhere(Arc<Cluster>);

const NOT_AS_ONE: Failure = Failure {
    code: Code::CrossSlot,
    detail: "every node of the cluster has a part in one of the calls, so they cannot happen as one; nothing was done",
    delivery: Delivery::Answered,
};

impl Own for Everywhere {
    fn exchange<'a>(&'a mut self, commands: &'a [u8], replies: Replies, deadline: Instant) -> BoxFuture<'a, Result<Bytes, Failure>> {
        Box::pin(async move { crate::backend::replies(self.0.send(commands, replies, &Where::default())?, deadline).await })
    }

    fn watch<'a>(&'a mut self, _: &'a [&'a [u8]], _: &'a [u8], _: usize, _: Instant) -> BoxFuture<'a, Result<Bytes, Failure>> {
        Box::pin(std::future::ready(Err(NOT_AS_ONE)))
    }

    fn forget(&mut self, _: Instant) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn commit<'a>(&'a mut self, _: &'a [u8], _: usize, _: bool, _: Instant) -> BoxFuture<'a, Result<Committed, Failure>> {
        Box::pin(std::future::ready(Err(NOT_AS_ONE)))
    }

    fn give_back(self: Box<Self>) {}
}
