//! How long to wait. A share of each delay is left to chance, so that many objects do not come back together.

use std::time::Duration;

/// The delay after a number of failures: doubled each time within the bounds, plus up to a fifth.
pub(crate) fn backoff(failures: u32, least: Duration, most: Duration) -> Duration {
    let delay = least.saturating_mul(1 << failures.min(16)).min(most);
    delay.mul_f64(1.0 + 0.2 * chance())
}

/// A period give or take a twentieth.
pub(crate) fn jittered(period: Duration) -> Duration {
    period.mul_f64(0.95 + 0.1 * chance())
}

/// From 0 to 1.
fn chance() -> f64 {
    let mut bytes = [0; 4];
    match getrandom::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_within_their_bounds() {
        let (least, most) = (Duration::from_secs(2), Duration::from_secs(30));
        for (failures, expected) in [(0, 2), (1, 4), (3, 16), (4, 30), (60, 30)] {
            let delay = backoff(failures, least, most).as_secs_f64();
            assert!((expected as f64..=expected as f64 * 1.2).contains(&delay), "{failures}: {delay}");
        }
    }
}
