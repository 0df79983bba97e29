//! Calls on their way to several nodes, and back in the order in which they were made. A node that says that it has not
//! carried out a call, because another has the slot, is believed: the call goes there. Nothing else is sent again.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use dbx_crds::config::Host;
use futures::future::join_all;
use smallvec::smallvec;

use super::{Cluster, Node, scan, split::Merge, view};
use crate::{
    backend::{Backend, Failure, NodeId, Pending, Replies},
    error::{Code, Delivery},
    resp::take_frame,
};

/// How often a call follows where it is sent.
pub(super) const HOPS: usize = 8;
pub(super) const ASKING: &[u8] = b"*1\r\n$6\r\nASKING\r\n";

/// A command on its way.
pub(super) struct Job {
    pub(super) command: Bytes,
    pub(super) droppable: bool,
    pub(super) node: Arc<Node>,
    /// It is sent where the slot is about to be.
    pub(super) asking: bool,
    /// The slot of what a replica may read.
    pub(super) read: Option<usize>,
    pub(super) outcome: Option<Result<Bytes, Failure>>,
}

/// Sends all jobs that have no outcome, each node's together and in order.
pub(super) fn send(jobs: &mut [Job]) -> Vec<(Vec<usize>, Pending)> {
    let mut batches: Vec<(Arc<Node>, Vec<usize>)> = Vec::new();
    for (index, job) in jobs.iter().enumerate().filter(|(_, job)| job.outcome.is_none()) {
        match batches.iter_mut().find(|(node, _)| Arc::ptr_eq(node, &job.node)) {
            Some((_, batch)) => batch.push(index),
            None => batches.push((job.node.clone(), vec![index])),
        }
    }
    let mut sent = Vec::with_capacity(batches.len());
    for (node, batch) in batches {
        let (mut commands, mut replies) = (BytesMut::new(), Replies::new());
        for job in batch.iter().map(|index| &jobs[*index]) {
            if job.asking {
                commands.extend_from_slice(ASKING);
                replies.push(false);
            }
            commands.extend_from_slice(&job.command);
            replies.push(job.droppable);
        }
        match node.redis.submit(&commands, replies) {
            Ok(pending) => sent.push((batch, pending)),
            Err(failure) => batch.into_iter().for_each(|index| jobs[index].outcome = Some(Err(failure.clone()))),
        }
    }
    sent
}

/// Waits for all jobs, follows those that are sent elsewhere, and puts the replies together.
pub(super) async fn gather(
    cluster: Arc<Cluster>,
    mut jobs: Vec<Job>,
    mut sent: Vec<(Vec<usize>, Pending)>,
    mut merges: Vec<Merge>,
) -> Result<Bytes, Failure> {
    for hop in 0..=HOPS {
        let mut again = Vec::new();
        for (batch, pending) in sent.drain(..) {
            receive(&mut jobs, &batch, pending.outcome().await);
            again.extend(batch.into_iter().filter_map(|index| {
                let Some(Ok(frame)) = &jobs[index].outcome else { return None };
                let next = match jobs[index].read {
                    // The replica has carried out nothing; the primary can.
                    Some(slot) if frame.starts_with(b"-LOADING ") || frame.starts_with(b"-MASTERDOWN ") => Next::Primary(slot),
                    _ => Next::Redirect(redirect(frame, &jobs[index].node.host)?),
                };
                Some((index, next))
            }));
        }
        if again.is_empty() {
            break;
        }
        if hop == HOPS {
            let detail = "the cluster goes on sending the call elsewhere";
            let failure = Failure { code: Code::Unavailable, detail, delivery: Delivery::NotSent };
            again.iter().for_each(|(index, _)| jobs[*index].outcome = Some(Err(failure.clone())));
            break;
        }
        // In the order of the calls, which those to one key have to keep.
        again.sort_by_key(|(index, _)| *index);
        for (index, next) in again {
            let job = &mut jobs[index];
            match next {
                Next::Redirect(redirect) => {
                    job.node = cluster.redirected(&redirect);
                    job.asking = redirect.asking;
                }
                Next::Primary(slot) => match cluster.node_for(Some(slot)) {
                    Ok(node) => job.node = node,
                    Err(_) => continue,
                },
            }
            job.read = None;
            job.outcome = None;
            job.node.connected().await;
        }
        sent = send(&mut jobs);
    }
    let mut outcomes: Vec<_> = jobs.into_iter().map(|job| job.outcome.unwrap_or_else(|| Err(lost()))).collect();
    let pages = merges.iter_mut().filter(|merge| matches!(merge, Merge::Page(_)));
    let pages = pages.enumerate().map(|(index, merge)| {
        let command = std::mem::replace(merge, Merge::One(outcomes.len() + index));
        let cluster = &cluster;
        async move {
            match &command {
                Merge::Page(command) => scan::page(cluster, command).await,
                _ => Err(lost()),
            }
        }
    });
    let pages: Vec<_> = pages.collect();
    outcomes.extend(join_all(pages).await);
    super::split::assemble(&merges, outcomes, cluster.bounds.result_bytes)
}

/// Where a call goes that was not carried out.
enum Next {
    Redirect(Redirect),
    /// To the node that has the slot.
    Primary(usize),
}

/// Sends commands to a node that the caller names, and nowhere else.
pub(super) async fn directed(cluster: Arc<Cluster>, id: NodeId, commands: Bytes, replies: Replies) -> Result<Bytes, Failure> {
    let asked = cluster.node_for(None)?;
    let frame = asked.redis.submit(scan::NODES, smallvec![true])?.outcome().await?;
    let lines = scan::text(&frame).map(|text| view::read(text, &asked.host)).unwrap_or_default();
    let Some(node) = lines.iter().find(|line| id.is(line.id)).and_then(|line| cluster.at(&line.hosts)) else {
        return Pending::refused(b"-DBXNODE the cluster has no such node\r\n", replies.len()).outcome().await;
    };
    node.connected().await;
    node.redis.submit(&commands, replies)?.outcome().await
}

fn lost() -> Failure {
    Failure { code: Code::Unavailable, detail: "the connection to the database was lost", delivery: Delivery::Unknown }
}

/// Hands out the replies of one node.
fn receive(jobs: &mut [Job], batch: &[usize], outcome: Result<Bytes, Failure>) {
    let frames = match outcome {
        Ok(frames) => frames,
        Err(failure) => return batch.iter().for_each(|index| jobs[*index].outcome = Some(Err(failure.clone()))),
    };
    let mut rest = &frames[..];
    let mut next = || match take_frame(&mut rest) {
        Some(frame) => Ok(frames.slice_ref(frame)),
        None => Err(Failure { code: Code::BackendError, detail: "the database broke its protocol", delivery: Delivery::Unknown }),
    };
    for index in batch {
        let job = &mut jobs[*index];
        // What ASKING itself is answered.
        let asked = if job.asking { next().map(|_| ()) } else { Ok(()) };
        job.outcome = Some(asked.and_then(|()| next()));
    }
}

/// Where a node sends a call to, certain that it has not carried it out.
pub(super) struct Redirect {
    pub(super) slot: usize,
    pub(super) host: Host,
    /// For this call alone.
    pub(super) asking: bool,
}

pub(super) fn redirect(frame: &[u8], from: &Host) -> Option<Redirect> {
    let (asking, rest) = match frame.strip_prefix(b"-MOVED ") {
        Some(rest) => (false, rest),
        None => (true, frame.strip_prefix(b"-ASK ")?),
    };
    let (slot, host) = std::str::from_utf8(rest).ok()?.trim_end().split_once(' ')?;
    Some(Redirect { slot: slot.parse().ok()?, host: host_of(host, from)?, asking })
}

/// Reads the node in a redirection; one that does not know its own name is the one that was asked.
pub(in crate::backend::redis) fn host_of(text: &str, asked: &Host) -> Option<Host> {
    let (name, port) = text.rsplit_once(':')?;
    let name = if matches!(name, "" | "?") { &asked.name } else { name };
    Some(Host { name: name.to_owned(), port: port.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_read() {
        let from = Host { name: "from".into(), port: 1 };
        let read = |frame: &[u8]| redirect(frame, &from).map(|found| (found.slot, found.host.to_string(), found.asking));
        assert_eq!(read(b"-MOVED 3999 127.0.0.1:6381\r\n"), Some((3999, "127.0.0.1:6381".into(), false)));
        assert_eq!(read(b"-ASK 1 ::1:6381\r\n"), Some((1, "[::1]:6381".into(), true)));
        assert_eq!(read(b"-MOVED 1 :6381\r\n"), Some((1, "from:6381".into(), false)));
        assert_eq!(read(b"$8\r\n-MOVED 1\r\n"), None);
        assert_eq!(read(b"-ERR MOVED 1 a:1\r\n"), None);
    }
}
