//! What waits for a look. What somebody changed goes before what is only looked at again, and neither takes every place, so
//! that a storm of the one does not keep the other waiting. Each object waits once and is looked at once at a time.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::Hash,
    pin::pin,
    time::Duration,
};

use futures::{Stream, StreamExt, stream::FuturesUnordered};
use tokio::time::{Instant, sleep_until};

/// How soon an object has to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Urgency {
    /// Nothing is known to have changed: its time has come, or everything was listed.
    Calm,
    /// Somebody changed something.
    Urgent,
}

/// When to look again if nothing happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Never.
    Change,
    /// After a while, calmly.
    After(Duration),
    /// After a while, as urgently as this time: what was begun is not done.
    Again(Duration),
}

/// A look that may begin.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Turn<T> {
    pub(crate) target: T,
    pub(crate) urgency: Urgency,
    /// How long it has been waited for since it became necessary.
    pub(crate) waited: Duration,
}

/// Has every target looked at that is named, from when everything is there until told to stop; then what was begun is done.
pub(crate) async fn run<T, L>(
    triggers: impl Stream<Item = (T, Urgency)>,
    places: usize,
    complete: impl Future<Output = ()>,
    stop: impl Future<Output = ()>,
    look: impl Fn(Turn<T>) -> L,
) where
    T: Clone + Eq + Hash + Ord,
    L: Future<Output = Next>,
{
    let mut queue: Queue<T> = Queue::new(places);
    let mut running = FuturesUnordered::new();
    let (mut triggers, mut complete, mut stop) = (pin!(triggers), pin!(complete), pin!(stop));
    let mut is_complete = false;
    loop {
        while is_complete && let Some(turn) = queue.take(Instant::now()) {
            let (target, look) = (turn.target.clone(), look(turn));
            running.push(async move { (target, look.await) });
        }
        let due = queue.due();
        let wake = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = &mut stop => break,
            Some((target, next)) = running.next() => queue.done(target, next, Instant::now()),
            Some((target, urgency)) = triggers.next() => queue.add(target, urgency, Instant::now()),
            () = &mut complete, if !is_complete => is_complete = true,
            () = wake => {}
        }
    }
    while running.next().await.is_some() {}
}

/// What is known of one target.
#[derive(Default)]
struct Entry {
    /// How urgently it waits, since when, and its number in the line; none while it cannot begin because it is looked at.
    waiting: Option<(Urgency, Instant, Option<u64>)>,
    running: Option<Urgency>,
    due: Option<(Instant, Urgency)>,
}

/// The targets of one urgency, first come first served.
struct Line<T> {
    /// How many of its looks may run at once while the other line waits as well.
    most: usize,
    running: usize,
    waiting: BTreeMap<u64, T>,
}

impl<T> Line<T> {
    fn new(most: usize) -> Self {
        Self { most: most.max(1), running: 0, waiting: BTreeMap::new() }
    }
}

struct Queue<T> {
    /// How many looks may run at once.
    places: usize,
    calm: Line<T>,
    urgent: Line<T>,
    due: BTreeSet<(Instant, T)>,
    entries: HashMap<T, Entry>,
    /// The next number in a line.
    number: u64,
}

impl<T: Clone + Eq + Hash + Ord> Queue<T> {
    fn new(places: usize) -> Self {
        let (calm, urgent) = (Line::new(places - places.div_ceil(4)), Line::new(places.saturating_sub(1)));
        Self { places, calm, urgent, due: BTreeSet::new(), entries: HashMap::new(), number: 0 }
    }

    fn line(&mut self, urgency: Urgency) -> &mut Line<T> {
        match urgency {
            Urgency::Calm => &mut self.calm,
            Urgency::Urgent => &mut self.urgent,
        }
    }

    /// Has a target looked at. One that waits already keeps its place, unless it has become urgent.
    fn add(&mut self, target: T, urgency: Urgency, since: Instant) {
        let number = self.number;
        let entry = self.entries.entry(target.clone()).or_default();
        let (before, since) = match entry.waiting {
            Some((known, _, _)) if known >= urgency => return,
            Some((known, since, number)) => (number.map(|number| (known, number)), since),
            None => (None, since),
        };
        let is_free = entry.running.is_none();
        entry.waiting = Some((urgency, since, is_free.then_some(number)));
        if let Some((urgency, number)) = before {
            self.line(urgency).waiting.remove(&number);
        }
        if is_free {
            self.number += 1;
            self.line(urgency).waiting.insert(number, target);
        }
    }

    /// When the next target comes due.
    fn due(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// The next look that may begin now.
    fn take(&mut self, now: Instant) -> Option<Turn<T>> {
        while self.due().is_some_and(|due| due <= now)
            && let Some((due, target)) = self.due.pop_first()
        {
            let planned = self.entries.get_mut(&target).and_then(|entry| entry.due.take());
            self.add(target, planned.map_or(Urgency::Calm, |(_, urgency)| urgency), due);
        }
        let (calm, urgent) = (&self.calm, &self.urgent);
        if calm.running + urgent.running >= self.places {
            return None;
        }
        let urgency = if !urgent.waiting.is_empty() && (urgent.running < urgent.most || calm.waiting.is_empty()) {
            Urgency::Urgent
        } else if calm.running < calm.most {
            Urgency::Calm
        } else {
            return None;
        };
        let line = self.line(urgency);
        let (_, target) = line.waiting.pop_first()?;
        line.running += 1;
        let entry = self.entries.entry(target.clone()).or_default();
        entry.running = Some(urgency);
        let since = entry.waiting.take().map_or(now, |(_, since, _)| since);
        if let Some((due, _)) = entry.due.take() {
            self.due.remove(&(due, target.clone()));
        }
        Some(Turn { target, urgency, waited: now.saturating_duration_since(since) })
    }

    /// A look is over. What happened to its target meanwhile is looked at next.
    fn done(&mut self, target: T, next: Next, now: Instant) {
        let Some(entry) = self.entries.get_mut(&target) else { return };
        let Some(urgency) = entry.running.take() else { return };
        let planned = match next {
            Next::Change => None,
            Next::After(wait) => Some((now + wait, Urgency::Calm)),
            Next::Again(wait) => Some((now + wait, urgency)),
        };
        match (entry.waiting.take(), planned) {
            (Some((urgency, since, _)), _) => self.add(target, urgency, since),
            (None, Some((due, urgency))) => {
                entry.due = Some((due, urgency));
                self.due.insert((due, target));
            }
            (None, None) => _ = self.entries.remove(&target),
        }
        self.line(urgency).running -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::{Urgency::*, *};

    const SECOND: Duration = Duration::from_secs(1);

    fn targets(queue: &mut Queue<&'static str>, now: Instant) -> Vec<&'static str> {
        std::iter::from_fn(|| queue.take(now)).map(|turn| turn.target).collect()
    }

    #[test]
    fn what_changed_goes_first_and_neither_takes_every_place() {
        let (mut queue, now) = (Queue::new(4), Instant::now());
        ["a", "b", "c", "d", "e"].into_iter().for_each(|target| queue.add(target, Calm, now));
        assert_eq!(targets(&mut queue, now), ["a", "b", "c"], "one place stays free");
        ["e", "x", "y"].into_iter().for_each(|target| queue.add(target, Urgent, now));
        assert_eq!(targets(&mut queue, now), ["e"], "one that waited calmly has become urgent");
        queue.done("a", Next::Change, now);
        queue.done("b", Next::Change, now);
        assert_eq!(targets(&mut queue, now), ["x", "y"]);
        queue.done("c", Next::Change, now);
        queue.add("z", Urgent, now);
        assert_eq!(targets(&mut queue, now), ["d"], "the last place is not for a fourth urgent one while a calm one waits");
        queue.done("d", Next::Change, now);
        assert_eq!(targets(&mut queue, now), ["z"], "it is when none does");

        let mut queue = Queue::new(1);
        queue.add("a", Calm, now);
        queue.add("x", Urgent, now);
        assert_eq!(targets(&mut queue, now), ["x"]);
        queue.done("x", Next::Change, now);
        assert_eq!(targets(&mut queue, now), ["a"]);
    }

    #[test]
    fn one_object_is_looked_at_once_at_a_time() {
        let (mut queue, now) = (Queue::new(4), Instant::now());
        queue.add("a", Calm, now);
        queue.add("a", Calm, now + SECOND);
        assert_eq!(queue.take(now + SECOND), Some(Turn { target: "a", urgency: Calm, waited: SECOND }));
        queue.add("a", Calm, now + SECOND);
        queue.add("a", Urgent, now + 2 * SECOND);
        assert_eq!(queue.take(now + 2 * SECOND), None);
        queue.done("a", Next::After(SECOND), now + 3 * SECOND);
        assert_eq!(queue.take(now + 3 * SECOND), Some(Turn { target: "a", urgency: Urgent, waited: 2 * SECOND }));
        queue.done("a", Next::Change, now + 3 * SECOND);
        assert!(queue.take(now + 100 * SECOND).is_none() && queue.entries.is_empty());
    }

    #[test]
    fn the_wait_counts_from_when_a_look_was_due() {
        let (mut queue, now) = (Queue::new(1), Instant::now());
        queue.add("a", Urgent, now);
        assert_eq!(targets(&mut queue, now), ["a"]);
        queue.done("a", Next::Again(SECOND), now);
        assert_eq!((queue.due(), queue.take(now)), (Some(now + SECOND), None));
        assert_eq!(queue.take(now + 3 * SECOND), Some(Turn { target: "a", urgency: Urgent, waited: 2 * SECOND }));
        queue.done("a", Next::After(SECOND), now);
        queue.add("a", Urgent, now);
        assert_eq!((targets(&mut queue, now), queue.due()), (vec!["a"], None));
        queue.done("a", Next::After(SECOND), now);
        assert_eq!(queue.take(now + SECOND).map(|turn| turn.urgency), Some(Calm));
    }

    #[tokio::test]
    async fn it_ends_when_told_to_whatever_waits() {
        let begun = std::cell::Cell::new(0);
        let (stop, stopped) = futures::channel::oneshot::channel::<()>();
        let (stop, names) = (std::cell::Cell::new(Some(stop)), (0..1000).map(|name| (name, Calm)));
        let look = |_: Turn<i32>| {
            begun.set(begun.get() + 1);
            drop(stop.take());
            async { Next::Again(Duration::ZERO) }
        };
        run(futures::stream::iter(names), 2, std::future::ready(()), async { _ = stopped.await }, look).await;
        assert!(begun.get() <= 2, "{} were begun", begun.get());
    }
}
