//! Calls on their way to several nodes, and back in the order in which they were made. A node that says that it has not
//! carried out a call, because another has the slot, is believed: the call goes there. Nothing else is sent again.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use dbx_crds::config::Host;
use tokio::time::Instant;

use super::{Cluster, Node, split::Merge};
use crate::{
    backend::{Backend, Failure, Pending, Replies},
    error::{Code, Delivery},
    resp::Scanner,
};

/// How often a call follows where it is sent.
const HOPS: usize = 8;
/// How long a call that is sent to a node waits for a connection to it.
const PATIENCE: Duration = Duration::from_secs(2);
const ASKING: &[u8] = b"*1\r\n$6\r\nASKING\r\n";

/// A command on its way.
pub(super) struct Job {
    pub(super) command: Bytes,
    pub(super) droppable: bool,
    pub(super) node: Arc<Node>,
    /// It is sent where the slot is about to be.
    pub(super) asking: bool,
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
    merges: Vec<Merge>,
) -> Result<Bytes, Failure> {
    for hop in 0..=HOPS {
        let mut again = Vec::new();
        for (batch, pending) in sent.drain(..) {
            receive(&mut jobs, &batch, pending.outcome().await);
            again.extend(batch.into_iter().filter_map(|index| {
                let Some(Ok(frame)) = &jobs[index].outcome else { return None };
                redirect(frame, &jobs[index].node.host).map(|redirect| (index, redirect))
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
        let until = Instant::now() + PATIENCE;
        for (index, redirect) in again {
            let job = &mut jobs[index];
            job.node = cluster.redirected(&redirect);
            job.asking = redirect.asking;
            job.outcome = None;
            while !job.node.is_up() && Instant::now() < until {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        sent = send(&mut jobs);
    }
    let outcomes: Vec<_> = jobs.into_iter().map(|job| job.outcome.unwrap_or_else(|| Err(lost()))).collect();
    super::split::assemble(&merges, outcomes, cluster.bounds.result_bytes)
}

fn lost() -> Failure {
    Failure { code: Code::Unavailable, detail: "the connection to the database was lost", delivery: Delivery::Unknown }
}

/// Hands out the replies of one node.
fn receive(jobs: &mut [Job], batch: &[usize], outcome: Result<Bytes, Failure>) {
    let mut frames = match outcome {
        Ok(frames) => frames,
        Err(failure) => return batch.iter().for_each(|index| jobs[*index].outcome = Some(Err(failure.clone()))),
    };
    let mut next = || match Scanner::default().scan(&frames) {
        Ok(Some(end)) => Ok(frames.split_to(end)),
        _ => Err(Failure { code: Code::BackendError, detail: "the database broke its protocol", delivery: Delivery::Unknown }),
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
    let (name, port) = host.rsplit_once(':')?;
    let name = if matches!(name, "" | "?") { &from.name } else { name };
    Some(Redirect { slot: slot.parse().ok()?, host: Host { name: name.to_owned(), port: port.parse().ok()? }, asking })
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
