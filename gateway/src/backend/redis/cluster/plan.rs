//! What a call becomes: a command to one node, parts for several, or a page of a scan.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::{
    Cluster,
    gather::{self, Job},
    slot,
    split::{self, Merge},
};
use crate::{
    backend::{Failure, Pending, Replies, Where},
    operation::{self, Split, Together, position::keys, resolve::resolve},
    resp::{take_frame, words},
};

/// As a server says it; the gateway knows it beforehand.
const CROSS_SLOT: &[u8] = b"-CROSSSLOT Keys in request don't hash to the same slot\r\n";

/// The one slot of some keys, if they have any.
pub(super) fn slot_of(keys: &[&[u8]]) -> Result<Option<usize>, &'static [u8]> {
    let mut slots = keys.iter().map(|key| slot(key));
    let first = slots.next();
    if slots.all(|slot| Some(slot) == first) { Ok(first) } else { Err(CROSS_SLOT) }
}

/// What all primaries have a part in, if the command is of that kind.
pub(super) fn together(operation: Option<operation::Id>) -> Option<Together> {
    match operation?.operation().split {
        Split::Nodes(Together::Apart) => None,
        Split::Nodes(together) => Some(together),
        _ => None,
    }
}

impl Cluster {
    pub(super) fn send(self: &Arc<Self>, commands: &[u8], replies: Replies, wishes: &Where) -> Result<Pending, Failure> {
        let mut all = Bytes::copy_from_slice(commands);
        if let Some(node) = wishes.node {
            return Ok(Pending::Gathered(Box::pin(gather::directed(self.clone(), node, all, replies))));
        }
        let (mut jobs, mut merges, mut failed) = (Vec::new(), Vec::new(), None);
        for droppable in &replies {
            let end = take_frame(&mut &all[..]).map_or(all.len(), <[u8]>::len);
            merges.push(self.plan(all.split_to(end), *droppable, wishes, &mut jobs, &mut failed));
        }
        if let (Some(failure), true) = (failed, jobs.is_empty()) {
            return Err(failure);
        }
        let sent = gather::send(&mut jobs);
        if jobs.iter().any(|job| job.outcome.is_some()) {
            self.stale.notify_one();
        }
        Ok(Pending::Gathered(Box::pin(gather::gather(self.clone(), jobs, sent, merges))))
    }

    /// Adds the commands that a call becomes.
    fn plan(&self, command: Bytes, droppable: bool, wishes: &Where, jobs: &mut Vec<Job>, failed: &mut Option<Failure>) -> Merge {
        let words = words(&command);
        let operation = resolve(&words);
        let keys = keys(operation, &words);
        let split = operation.map_or(Split::Never, |id| id.operation().split);
        if keys.is_empty()
            && let Some(together) = together(operation)
        {
            if together == Together::Pages {
                return Merge::Page(command.clone());
            }
            let nodes = self.primaries();
            if nodes.is_empty() {
                *failed = self.node_for(None).err();
                return Merge::Ready(b"-DBXNOTSENT no node of the cluster is known\r\n");
            }
            let parts = nodes.into_iter().map(|node| {
                jobs.push(Job { command: command.clone(), droppable, node, asking: false, read: None, outcome: None });
                (jobs.len() - 1, Vec::new())
            });
            return Merge::Parts { split, droppable, parts: parts.collect() };
        }
        let mut job = |slot: Option<usize>, command: Bytes| {
            let read = slot.filter(|_| wishes.eventual);
            let replica = read.and_then(|slot| self.replica_for(slot));
            let node = match replica {
                Some(replica) => replica,
                None => self.node_for(slot).inspect_err(|failure| *failed = Some(failure.clone())).ok()?,
            };
            jobs.push(Job { command, droppable, node, asking: false, read, outcome: None });
            Some(jobs.len() - 1)
        };
        if wishes.in_parts
            && let Some(parts) = operation.and_then(|id| split::parts(id.operation(), &words))
        {
            let parts: Option<Vec<_>> = parts.into_iter().map(|(slot, keys, command)| Some((job(Some(slot), command)?, keys))).collect();
            return parts.map_or(Merge::Ready(b"-DBXLOST no node of the cluster has a part of the keys\r\n"), |parts| Merge::Parts {
                split,
                droppable,
                parts,
            });
        }
        match slot_of(&keys) {
            Err(refused) => Merge::Ready(refused),
            Ok(slot) => job(slot, command.clone()).map_or(Merge::Ready(b"-DBXNOTSENT no node of the cluster has the key\r\n"), Merge::One),
        }
    }
}

/// A command behind what lets a node carry it out for a slot that it is about to get.
pub(super) fn asking(command: &[u8]) -> BytesMut {
    let mut out = BytesMut::with_capacity(gather::ASKING.len() + command.len());
    out.extend_from_slice(gather::ASKING);
    out.extend_from_slice(command);
    out
}
