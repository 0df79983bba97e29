//! A bucket that fills at a steady rate: GCRA in one atomic, so that it can be asked from every worker at once, go into debt for
//! what is known only afterwards, and take back what was not used after all.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

/// Ticks of the limiter's clock in a nanosecond. A billion cells a second are exact to a few per cent, and the clock lasts nine
/// years.
const TICKS: u64 = 64;

/// A second.
pub(super) const SECOND: u64 = 1_000_000_000 * TICKS;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A moment on the limiter's clock.
pub(super) fn ticks(now: Instant) -> u64 {
    u64::try_from(now.saturating_duration_since(*START).as_nanos()).unwrap_or(u64::MAX / TICKS).saturating_mul(TICKS)
}

/// How fast a bucket fills, and how much it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    pub(super) per_second: u64,
    pub(super) burst: u64,
    /// What one costs, and a full bucket, in time.
    one: u64,
    full: u64,
}

impl Rate {
    pub(super) fn new(per_second: u64, burst: u64) -> Self {
        let mut rate = Self { per_second, burst, one: 0, full: 0 };
        (rate.one, rate.full) = (rate.divide(1), rate.divide(burst));
        rate
    }

    /// How long it takes until so many have come.
    pub(super) fn cost(&self, count: u64) -> u64 {
        if count == 1 { self.one } else { self.divide(count) }
    }

    fn divide(&self, count: u64) -> u64 {
        match count.checked_mul(SECOND) {
            Some(ticks) => ticks / self.per_second,
            None => u64::try_from(u128::from(count) * u128::from(SECOND) / u128::from(self.per_second)).unwrap_or(u64::MAX),
        }
    }

    /// How many come in a time.
    pub(super) fn count(&self, ticks: u64) -> u64 {
        match ticks.checked_mul(self.per_second) {
            Some(product) => product / SECOND,
            None => u64::try_from(u128::from(ticks) * u128::from(self.per_second) / u128::from(SECOND)).unwrap_or(u64::MAX),
        }
    }

    /// The whole seconds that an empty bucket needs to be full.
    pub(super) fn window(&self) -> u64 {
        seconds(self.full).max(1)
    }
}

/// Whole seconds, rounded up.
pub(super) fn seconds(ticks: u64) -> u64 {
    ticks.div_ceil(SECOND)
}

/// What is left in a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) remaining: u64,
    /// Until it is full, in ticks.
    pub(super) reset: u64,
}

/// A bucket. It holds the moment at which it will be full again.
#[derive(Debug, Default)]
pub(super) struct Bucket(AtomicU64);

impl Bucket {
    /// Takes so many, or says how long it is until they are there.
    pub(super) fn take(&self, rate: &Rate, count: u64, now: u64) -> Result<(), u64> {
        let cost = rate.cost(count);
        let last = now.saturating_add(rate.full);
        let taken = self.0.fetch_update(Relaxed, Relaxed, |full| {
            let next = full.max(now).saturating_add(cost);
            (next <= last).then_some(next)
        });
        taken.map(|_| ()).map_err(|full| full.max(now).saturating_add(cost).saturating_sub(last))
    }

    /// Takes so many whether they are there or not.
    pub(super) fn owe(&self, rate: &Rate, count: u64, now: u64) {
        let cost = rate.cost(count);
        let _ = self.0.fetch_update(Relaxed, Relaxed, |full| Some(full.max(now).saturating_add(cost)));
    }

    /// Whether there is anything, or how long it is until there is.
    pub(super) fn check(&self, rate: &Rate, now: u64) -> Result<(), u64> {
        match self.0.load(Relaxed).saturating_add(1).checked_sub(now.saturating_add(rate.full)) {
            None | Some(0) => Ok(()),
            Some(wait) => Err(wait),
        }
    }

    /// Puts back what was taken.
    pub(super) fn give_back(&self, rate: &Rate, count: u64) {
        let cost = rate.cost(count);
        let _ = self.0.fetch_update(Relaxed, Relaxed, |full| Some(full.saturating_sub(cost)));
    }

    pub(super) fn left(&self, rate: &Rate, now: u64) -> Left {
        let reset = self.0.load(Relaxed).saturating_sub(now);
        // What is begun of one is not there.
        Left { remaining: rate.count(rate.full.saturating_sub(reset)).min(rate.burst), reset }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_what_has_come() {
        let (rate, bucket) = (Rate::new(10, 5), Bucket::default());
        let now = 100 * SECOND;
        for _ in 0..5 {
            assert_eq!(bucket.take(&rate, 1, now), Ok(()));
        }
        assert_eq!(bucket.take(&rate, 1, now), Err(SECOND / 10));
        assert_eq!(bucket.left(&rate, now), Left { remaining: 0, reset: SECOND / 2 });
        assert_eq!(bucket.take(&rate, 3, now + SECOND / 5), Err(SECOND / 10));
        assert_eq!(bucket.take(&rate, 2, now + SECOND / 5), Ok(()));
        bucket.give_back(&rate, 2);
        assert_eq!(bucket.left(&rate, now + SECOND / 5).remaining, 2);
        // It never holds more than it can.
        assert_eq!(bucket.take(&rate, 6, now + 50 * SECOND), Err(SECOND / 10));
        assert_eq!(bucket.take(&rate, 5, now + 50 * SECOND), Ok(()));
    }

    #[test]
    fn debt_is_paid_by_what_follows() {
        let (rate, bucket) = (Rate::new(100, 100), Bucket::default());
        let now = 100 * SECOND;
        assert_eq!(bucket.check(&rate, now), Ok(()));
        bucket.owe(&rate, 350, now);
        assert_eq!(bucket.left(&rate, now).remaining, 0);
        assert!(bucket.check(&rate, now + 2 * SECOND).is_err());
        assert_eq!(bucket.check(&rate, now + 5 * SECOND / 2 + 1), Ok(()));
        // So much that nobody lives to see it paid.
        bucket.owe(&Rate::new(1, 1), u64::MAX, now);
        assert!(bucket.check(&rate, now + SECOND).is_err());
    }

    #[test]
    fn large_rates_are_exact_enough() {
        for per_second in [1_u64, 3, 7_000, 300_000_000, 1_000_000_000] {
            let rate = Rate::new(per_second, per_second);
            let counted = SECOND as f64 / rate.cost(1) as f64;
            assert!((counted / per_second as f64 - 1.0).abs() < 0.02, "{per_second}: {counted}");
            assert_eq!(rate.window(), 1);
        }
    }
}
