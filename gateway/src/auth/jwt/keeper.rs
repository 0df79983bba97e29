//! What is known of an issuer that has to be asked. One task asks: in time before its answer is out of date, again and again
//! while there is none, and when a token names a key that is not known, but not often. Nobody else waits for the network, and
//! those who wait for the same answer share it.

use std::{sync::Arc, time::Duration};

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
    time::{Instant, sleep_until, timeout, timeout_at},
};

use super::{
    Refusal,
    origin::{Known, Origin},
};

/// How long an answer is kept, if it does not say so itself.
const USUAL_AGE: Duration = Duration::from_secs(60 * 60);
/// What it may say.
const SHORTEST_AGE: Duration = Duration::from_secs(5 * 60);
const LONGEST_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// How quickly an issuer is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// How long an answer may take, and so how long a call waits for one.
    pub(super) timeout: Duration,
    /// The least time between two fetches for keys that are not known.
    pub(super) rest: Duration,
    /// When a failed fetch is tried again: after this, and later and later up to the rest.
    pub(super) retry: Duration,
    /// How long keys are believed that cannot be fetched again.
    pub(super) stale: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            rest: Duration::from_secs(30),
            retry: Duration::from_secs(1),
            stale: Duration::from_secs(24 * 60 * 60),
        }
    }
}

struct State {
    known: Option<Arc<Known>>,
    /// The last fetch that ended failed.
    failed: bool,
    /// A fetch is going on.
    fetching: bool,
    /// Fetches that have ended.
    fetches: u64,
    /// Until then nobody is asked for a key that is not known.
    quiet_until: Instant,
}

/// Keeps what is known of one issuer, as long as somebody wants to know.
pub(super) struct Keeper {
    state: watch::Receiver<State>,
    wish: Arc<Notify>,
    pace: Pace,
}

impl Keeper {
    /// Starts asking. `setting` is how the log calls it.
    pub(super) fn start(runtime: &Handle, setting: String, origin: Origin, pace: Pace) -> Self {
        let start = State { known: None, failed: false, fetching: true, fetches: 0, quiet_until: Instant::now() };
        let (sender, state) = watch::channel(start);
        let wish = Arc::new(Notify::new());
        runtime.spawn(keep(setting, origin, pace, sender, wish.clone()));
        Self { state, wish, pace }
    }

    /// What is known, once it is `enough` or nothing more can be learned now.
    pub(super) async fn known(&self, enough: impl Fn(&Known) -> bool) -> Result<Arc<Known>, Refusal> {
        let deadline = Instant::now() + self.pace.timeout;
        let mut states = None;
        loop {
            let seen = {
                let state = self.state.borrow();
                if let Some(known) = state.known.as_ref().filter(|known| enough(known)) {
                    return Ok(known.clone());
                }
                // The next attempt may take as long as the last; it is not waited for.
                if state.failed {
                    return Err(Refusal::KeysUnavailable);
                }
                if !state.fetching {
                    if Instant::now() < state.quiet_until {
                        return state.known.clone().ok_or(Refusal::KeysUnavailable);
                    }
                    self.wish.notify_one();
                }
                state.fetches
            };
            let ended = states.get_or_insert_with(|| self.state.clone()).wait_for(|state| state.fetches > seen);
            if !matches!(timeout_at(deadline, ended).await, Ok(Ok(_))) {
                return Err(Refusal::KeysUnavailable);
            }
        }
    }
}

async fn keep(setting: String, origin: Origin, pace: Pace, sender: watch::Sender<State>, wish: Arc<Notify>) {
    let pauses = || {
        let builder = ExponentialBuilder::default().with_min_delay(pace.retry).with_max_delay(pace.rest.max(pace.retry)).with_jitter();
        builder.without_max_times().build()
    };
    let (mut retries, mut told) = (pauses(), String::new());
    let (mut quiet_until, mut failing_since) = (Instant::now(), None);
    loop {
        sender.send_modify(|state| (state.fetching, state.quiet_until) = (true, quiet_until));
        let outcome = timeout(pace.timeout, origin.fetch()).await.unwrap_or_else(|_| Err(format!("no answer within {:?}", pace.timeout)));
        let (pause, fresh) = match outcome {
            Ok((known, age)) => {
                if !told.is_empty() {
                    tracing::info!("{setting}: the issuer's keys are there again");
                    told.clear();
                }
                retries = pauses();
                let age = kept(age);
                failing_since = None;
                (age, Some(Arc::new(known)))
            }
            Err(message) => {
                if message != told {
                    tracing::warn!("{setting}: the issuer's keys cannot be fetched: {message}");
                    told = message;
                }
                (retries.next().unwrap_or(pace.rest), None)
            }
        };
        let is_stale = fresh.is_none() && failing_since.get_or_insert_with(Instant::now).elapsed() >= pace.stale;
        sender.send_modify(|state| {
            state.failed = fresh.is_none();
            if fresh.is_some() || is_stale {
                state.known = fresh;
            }
            state.fetching = false;
            state.fetches += 1;
        });
        let due = Instant::now() + pause;
        loop {
            tokio::select! {
                () = sender.closed() => return,
                () = sleep_until(due) => break,
                () = wish.notified() => {
                    let now = Instant::now();
                    // Wishes that came while one was fulfilled are fulfilled too.
                    if now >= quiet_until {
                        quiet_until = now + pace.rest;
                        break;
                    }
                }
            }
        }
    }
}

/// How long an answer is kept that says it may be kept so long.
pub(super) fn kept(said: Option<Duration>) -> Duration {
    said.unwrap_or(USUAL_AGE).clamp(SHORTEST_AGE, LONGEST_AGE)
}
