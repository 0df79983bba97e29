//! Commands that all replicas count together, in one bucket in a database. No call waits for that: a replica spends what it was
//! given and what it knows to be left, and a task settles with the bucket some times a second for as long as there are calls. What
//! several replicas spend of the same rest is a debt, which is paid by what follows, so that in the long run no more passes than the
//! limit says.

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use sha1::{Digest, Sha1};
use smallvec::smallvec;

use super::{
    bucket::{Bucket, Left, Rate, SECOND, ticks},
    limit::{Limit, State},
};
use crate::{
    backend,
    resp::{self, Item, Reader},
    scripts,
    worker::Database,
};

/// The script that settles.
const SCRIPT: &str = include_str!("take.lua");
/// Its hash.
static SHA: LazyLock<String> = LazyLock::new(|| Sha1::digest(SCRIPT).iter().map(|byte| format!("{byte:02x}")).collect());

/// Calls that pass for which it settles once.
const CALLS: f64 = 80.0;
/// How often it settles at most, and at least while there are calls.
const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_millis(250);
/// What is asked for, compared with what was used of late: some more, so that it lasts until the next time.
const AHEAD: f64 = 1.25;
/// Where so many times what is used of late is left, nobody needs anything for himself.
const PLENTY: u64 = 4;
/// How long the database may take to answer.
const PATIENCE: Duration = Duration::from_millis(500);
/// Rounds without a call after which it ends, and those if the database has not answered.
const QUIET: u32 = 4;
const ATTEMPTS: u32 = 40;

/// Where the commands of all replicas are counted, and how that goes.
#[derive(Debug)]
pub(super) struct Shared {
    /// The index of the database.
    pub(super) database: usize,
    /// Calls are refused while it does not answer.
    pub(super) closed: bool,
    /// It did not answer.
    pub(super) down: AtomicBool,
    /// How many times was settled.
    pub(super) exchanges: AtomicU64,
}

/// Why a call may not pass.
pub(super) enum Empty {
    /// For so many ticks.
    For(u64),
    /// The database that counts does not answer.
    Unknown,
}

/// What a replica may spend of one bucket. All numbers of commands grow only, but for what is given back.
#[derive(Debug)]
pub(super) struct Lease {
    key: Bytes,
    /// Commands that have passed.
    spent: AtomicU64,
    /// Up to where that may grow.
    until: AtomicU64,
    /// Commands that have wanted to pass.
    wanted: AtomicU64,
    /// Commands that the bucket has been told of or has given.
    charged: AtomicU64,
    /// What was left in the bucket then, and when that was.
    level: AtomicI64,
    known: AtomicU64,
    /// A task settles.
    running: AtomicBool,
    /// Counts in its place while the database does not answer.
    alone: Bucket,
}

impl Lease {
    pub(super) fn new(key: String, rate: &Rate) -> Self {
        Self {
            key: key.into(),
            spent: AtomicU64::new(0),
            until: AtomicU64::new(0),
            wanted: AtomicU64::new(0),
            charged: AtomicU64::new(0),
            // Nobody has been here: the bucket is full, or it is found out at once.
            level: AtomicI64::new(signed(rate.burst)),
            known: AtomicU64::new(0),
            running: AtomicBool::new(false),
            alone: Bucket::default(),
        }
    }

    /// Lets commands pass.
    pub(super) fn take(&self, rate: &Rate, shared: &Shared, count: u64, now: u64) -> Result<(), Empty> {
        self.wanted.fetch_add(count, Relaxed);
        if shared.down.load(Relaxed) {
            return if shared.closed { Err(Empty::Unknown) } else { self.alone.take(rate, count, now).map_err(Empty::For) };
        }
        let until = self.until.load(Relaxed);
        let passes = |spent: u64| spent.checked_add(count).filter(|next| *next <= until);
        self.spent.fetch_update(Relaxed, Relaxed, passes).map(|_| ()).map_err(|spent| {
            let debt = self.level.load(Relaxed).min(0).unsigned_abs();
            Empty::For(rate.cost((spent + count).saturating_sub(until).saturating_add(debt)))
        })
    }

    /// Commands that have passed did not after all.
    pub(super) fn give_back(&self, rate: &Rate, shared: &Shared, count: u64) {
        if shared.down.load(Relaxed) {
            return self.alone.give_back(rate, count);
        }
        // Fewer than have passed, unless they did while the database was down.
        let _ = self.spent.fetch_update(Relaxed, Relaxed, |spent| Some(spent.saturating_sub(count)));
    }

    pub(super) fn left(&self, rate: &Rate, shared: &Shared, now: u64) -> Left {
        if shared.down.load(Relaxed) {
            return self.alone.left(rate, now);
        }
        let until = if self.running.load(Relaxed) { self.until.load(Relaxed) } else { self.estimate(rate, now) };
        let remaining = until.saturating_sub(self.spent.load(Relaxed)).min(rate.burst);
        Left { remaining, reset: rate.cost(rate.burst - remaining) }
    }

    /// What may be spent after a time in which nothing was heard of the bucket.
    fn estimate(&self, rate: &Rate, now: u64) -> u64 {
        let come = signed(rate.count(now.saturating_sub(self.known.load(Relaxed))));
        let level = self.level.load(Relaxed).saturating_add(come).clamp(0, signed(rate.burst));
        self.charged.load(Relaxed).saturating_add(level.unsigned_abs())
    }

    /// Whether the caller has to start [`settle`].
    pub(super) fn wakes(&self, rate: &Rate, now: u64) -> bool {
        if self.running.load(Relaxed) || self.running.swap(true, Relaxed) {
            return false;
        }
        self.until.store(self.estimate(rate, now), Relaxed);
        true
    }

    /// Whether the bucket knows of everything, and nothing of it is kept here.
    fn is_told(&self) -> bool {
        self.spent.load(Relaxed) == self.charged.load(Relaxed)
    }

    /// Tells the bucket what was spent, and asks for more.
    async fn exchange(&self, rate: &Rate, shared: &Shared, database: &Database, wish: u64) -> bool {
        let spent = self.spent.load(Relaxed);
        let used = i128::from(spent) - i128::from(self.charged.load(Relaxed));
        let numbers = [rate.per_second.to_string(), rate.burst.to_string(), used.to_string(), wish.to_string()];
        shared.exchanges.fetch_add(1, Relaxed);
        let Some((given, level)) = run(database, &self.key, &numbers).await else { return false };
        self.charged.store(spent + given, Relaxed);
        self.level.store(level, Relaxed);
        self.known.store(ticks(Instant::now()), Relaxed);
        self.until.store(spent + given + level.max(0).unsigned_abs(), Relaxed);
        true
    }
}

/// Settles until nobody calls any more.
pub(super) async fn settle(limit: Arc<Limit>, state: Arc<State>, database: Arc<Database>) {
    let (Some(shared), Some(rate), Some(lease)) = (&limit.shared, &limit.commands, &state.lease) else { return };
    let longest = pause_of(rate.cost(rate.burst) / 2).clamp(SHORTEST, LONGEST);
    let (mut pause, mut silent) = (SHORTEST, 0);
    // Whoever has woken this is the first demand.
    let (mut demand, mut seen) = (1, lease.wanted.load(Relaxed));
    let (mut passed, mut told) = (lease.spent.load(Relaxed), Instant::now());
    loop {
        let answered = if demand == 0 && !shared.down.load(Relaxed) && lease.is_told() {
            // What has come in the meantime is there for the next.
            lease.until.store(lease.estimate(rate, ticks(Instant::now())), Relaxed);
            true
        } else {
            let is_scarce = lease.level.load(Relaxed) < signed(PLENTY * demand);
            let wish = if is_scarce { (demand as f64 * AHEAD).ceil() as u64 } else { 0 };
            let answered = lease.exchange(rate, shared, &database, wish).await;
            if shared.down.swap(!answered, Relaxed) == answered {
                let database = &*database.name;
                match answered {
                    true => tracing::info!(limit = limit.name, database, "replicas count a rate limit together again"),
                    false => tracing::warn!(limit = limit.name, database, "a rate limit cannot be counted together with other replicas"),
                }
            }
            answered
        };
        tokio::time::sleep(if answered { pause } else { LONGEST }).await;
        let wanted = lease.wanted.load(Relaxed);
        demand = wanted - seen;
        (seen, silent) = (wanted, if demand == 0 { silent + 1 } else { 0 });
        if silent < if answered { QUIET } else { ATTEMPTS } {
            let length = std::mem::replace(&mut told, Instant::now()).elapsed().as_secs_f64();
            let spent = lease.spent.load(Relaxed);
            let calls = spent.saturating_sub(std::mem::replace(&mut passed, spent)).max(1);
            // What comes next is expected to be as what came last.
            pause = Duration::from_secs_f64((length * CALLS / calls as f64).min(1.0)).clamp(SHORTEST, longest);
            demand = (demand as f64 * pause.as_secs_f64() / length.max(1e-6)).ceil() as u64;
            continue;
        }
        lease.running.store(false, Relaxed);
        // Whoever came in between did not start another.
        if lease.wanted.load(Relaxed) == seen || !lease.wakes(rate, ticks(Instant::now())) {
            return;
        }
    }
}

fn pause_of(ticks: u64) -> Duration {
    Duration::from_secs_f64(ticks as f64 / SECOND as f64)
}

/// Runs the script: by its hash, and by its text when the server does not have it.
async fn run(database: &Database, key: &[u8], numbers: &[String; 4]) -> Option<(u64, i64)> {
    for (word, script) in [("EVALSHA", SHA.as_str()), ("EVAL", SCRIPT)] {
        let mut words: Vec<&[u8]> = vec![word.as_bytes(), script.as_bytes(), b"1", key];
        words.extend(numbers.iter().map(String::as_bytes));
        let mut command = BytesMut::new();
        resp::write_command(&mut command, &words);
        let pending = database.backend.submit(&command, smallvec![false]).ok()?;
        let frame = backend::replies(pending, tokio::time::Instant::now() + PATIENCE).await.ok()?;
        if scripts::is_unknown(&frame) {
            continue;
        }
        let mut reader = Reader::new(&frame);
        let (Ok(Item::Array(Some(2))), Ok(Item::Integer(given)), Ok(Item::Integer(level))) = (reader.read(), reader.read(), reader.read())
        else {
            return None;
        };
        let number = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<i64>().ok();
        return Some((number(given)?.unsigned_abs(), number(level)?));
    }
    None
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
