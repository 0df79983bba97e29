//! What watches tell, as looks that it makes necessary. What a list tells is passed on once all of it is in the store.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use futures::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use kube::{
    Resource, ResourceExt,
    runtime::{
        reflector::{ObjectRef, Store},
        watcher::{Error, Event},
    },
};

use crate::{metrics::Metrics, queue::Urgency};

/// Namespace and name.
pub(crate) type Name = (String, String);

/// Of what kind the objects of a watch are, and where its errors are counted.
pub(crate) struct Watch {
    pub(crate) kind: &'static str,
    pub(crate) metrics: Arc<Metrics>,
}

/// What is worth a look about an object.
pub(crate) struct Worth {
    /// What differs when somebody changed the object.
    pub(crate) sum: u64,
    /// Whether it was looked at since.
    pub(crate) is_observed: bool,
}

/// Namespace and name of an object.
pub(crate) fn name_of(object: &impl Resource) -> Name {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// The objects of a watch that somebody made, changed or deleted, and calmly those that were listed as they should be.
pub(crate) fn changed<K>(
    events: impl Stream<Item = Result<Event<K>, Error>> + Send + 'static,
    watch: Watch,
    store: Store<K>,
    worth: impl Fn(&K) -> Worth + Send + 'static,
) -> BoxStream<'static, (Name, Urgency)>
where
    K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    let mut known: HashMap<Name, u64> = HashMap::new();
    let mut listed: BTreeMap<Name, Urgency> = BTreeMap::new();
    let is_there = move |(namespace, name): &Name| store.get(&ObjectRef::new(name).within(namespace)).is_some();
    pass(events, watch, move |event| match event {
        Event::Init => Vec::new(),
        Event::InitApply(object) => {
            let (name, worth) = (name_of(&object), worth(&object));
            let before = known.insert(name.clone(), worth.sum);
            if before != Some(worth.sum) {
                let urgency = if before.is_none() && worth.is_observed { Urgency::Calm } else { Urgency::Urgent };
                listed.insert(name, urgency);
            }
            Vec::new()
        }
        Event::InitDone => {
            let gone = known.extract_if(|name, _| !is_there(name)).map(|(name, _)| (name, Urgency::Urgent));
            std::mem::take(&mut listed).into_iter().chain(gone).collect()
        }
        Event::Apply(object) => {
            let (name, sum) = (name_of(&object), worth(&object).sum);
            let before = known.insert(name.clone(), sum);
            if before == Some(sum) { Vec::new() } else { vec![(name, Urgency::Urgent)] }
        }
        Event::Delete(object) => {
            let name = name_of(&object);
            known.remove(&name);
            vec![(name, Urgency::Urgent)]
        }
    })
}

/// The objects that those of a watch belong to, whenever one of them was made, changed or deleted, and calmly when they were
/// listed.
pub(crate) fn owners<K: Send + 'static>(
    events: impl Stream<Item = Result<Event<K>, Error>> + Send + 'static,
    watch: Watch,
    owner: impl Fn(&K) -> Option<Name> + Send + 'static,
) -> BoxStream<'static, (Name, Urgency)> {
    let mut listed: BTreeMap<Name, Urgency> = BTreeMap::new();
    pass(events, watch, move |event| match event {
        Event::Init => Vec::new(),
        Event::InitApply(object) => {
            listed.extend(owner(&object).map(|name| (name, Urgency::Calm)));
            Vec::new()
        }
        Event::InitDone => std::mem::take(&mut listed).into_iter().collect(),
        Event::Apply(object) | Event::Delete(object) => owner(&object).map(|name| (name, Urgency::Urgent)).into_iter().collect(),
    })
}

/// What goes wrong with a watch is counted and logged; it is begun again by itself.
fn pass<K: Send + 'static>(
    events: impl Stream<Item = Result<Event<K>, Error>> + Send + 'static,
    Watch { kind, metrics }: Watch,
    mut news: impl FnMut(Event<K>) -> Vec<(Name, Urgency)> + Send + 'static,
) -> BoxStream<'static, (Name, Urgency)> {
    let news = events.flat_map(move |event| {
        stream::iter(event.map(&mut news).unwrap_or_else(|error| {
            metrics.watch_errors.with_label_values(&[kind]).inc();
            tracing::warn!(kind, error = %error, "a watch ended and is started again");
            Vec::new()
        }))
    });
    news.boxed()
}
