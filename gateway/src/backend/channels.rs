//! What is heard on a database's channels. The process has one subscription for each topic, whatever the number of those
//! who listen; each worker hands on what it hears to its own listeners.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

/// What can be listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A channel.
    Channel,
    /// All channels whose names match a glob.
    Pattern,
    /// A channel of the node that has its slot; without a cluster, of the server.
    Shard,
    /// As [`Pattern`](Self::Pattern), on every node of a cluster: for what each node says only itself, such as key events.
    Everywhere,
}

/// One thing to listen to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Topic {
    /// What kind it is.
    pub kind: Kind,
    /// The channel, or the glob.
    pub name: Bytes,
}

/// Something that was heard. One object for all listeners of the process.
#[derive(Debug)]
pub enum Event {
    /// The database has confirmed the subscription, for the first time or after an interruption: what is sent from now on is
    /// heard.
    Subscribed,
    /// A message.
    Message(Message),
    /// The subscription was lost; what is sent until [`Subscribed`](Self::Subscribed) comes again is not heard.
    Interrupted,
    /// The database refuses the subscription: its error line, without the leading `-`. Nothing more will come.
    Refused(Bytes),
}

/// A message on a channel.
#[derive(Debug)]
pub struct Message {
    /// The channel that it was sent to.
    pub channel: Bytes,
    /// The glob that it was heard by.
    pub pattern: Option<Bytes>,
    /// What was sent.
    pub payload: Bytes,
    /// What it looks like to clients, once somebody has asked: as text, and in base64.
    pub rendered: [OnceLock<Bytes>; 2],
}

impl Event {
    /// How many bytes of memory it keeps.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Message(message) => message.channel.len() + message.payload.len() + 64,
            Self::Refused(line) => line.len() + 64,
            Self::Subscribed | Self::Interrupted => 64,
        }
    }
}

/// What is counted of a database's channels, for the whole process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Topics that somebody listens to.
    pub topics: usize,
    /// Messages received.
    pub messages: u64,
    /// Messages given to listeners; one for each of them.
    pub delivered: u64,
    /// Subscriptions that were lost.
    pub interruptions: u64,
}

/// Somebody who listens. Called on the worker's own thread; must not wait.
pub trait Listener: Send + Sync {
    /// Takes what was heard. If it is alone nothing follows at once that could be told together with it.
    fn hear(&self, event: &Arc<Event>, alone: bool);
}

/// A database's channels, as one worker hears them.
pub trait Channels: Send + Sync {
    /// Lets a listener hear a topic until the answer is dropped. The first it hears is `Subscribed` or `Refused`, or
    /// `Interrupted` while the database cannot be reached.
    fn listen(&self, topic: Topic, listener: Arc<dyn Listener>) -> Box<dyn Send + Sync>;

    /// What is counted for the whole process.
    fn counts(&self) -> Counts;
}

impl Message {
    /// One that nobody has rendered yet.
    pub fn new(channel: Bytes, pattern: Option<Bytes>, payload: Bytes) -> Self {
        Self { channel, pattern, payload, rendered: Default::default() }
    }
}
