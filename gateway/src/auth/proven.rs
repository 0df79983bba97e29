//! Callers whose credentials cost much to verify, remembered by each thread for a moment: by the hash of the credential, so that
//! nobody can read one out of memory.

use std::{
    cell::RefCell,
    sync::Arc,
    time::{Duration, SystemTime},
};

use lru::LruCache;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::Identity;
use crate::error::{Code, Error};

/// For how long one is believed unseen. An issuer's key that is withdrawn may be believed as much longer.
const MOMENT: Duration = Duration::from_secs(60);
/// How many are remembered.
const MOST: usize = 10_000;

type Proven = LruCache<[u8; 32], (Arc<Identity>, Instant)>;

thread_local! {
    static PROVEN: RefCell<Proven> = RefCell::new(LruCache::unbounded());
}

/// Whom a credential proves, as was found a moment ago or is found now.
pub(super) async fn remembered(credential: &str, find: impl AsyncFnOnce() -> Result<Arc<Identity>, Error>) -> Result<Arc<Identity>, Error> {
    let hash: [u8; 32] = Sha256::digest(credential).into();
    let known =
        PROVEN.with_borrow_mut(|proven| proven.get(&hash).filter(|(_, until)| Instant::now() < *until).map(|(known, _)| known.clone()));
    let identity = match known {
        Some(identity) => identity,
        None => {
            let identity = find().await?;
            PROVEN.with_borrow_mut(|proven| {
                proven.put(hash, (identity.clone(), Instant::now() + MOMENT));
                if proven.len() > MOST {
                    proven.pop_lru();
                }
            });
            identity
        }
    };
    match identity.until {
        Some(until) if until <= SystemTime::now() => Err(Error::new(Code::Unauthenticated, "the token has expired").param("Authorization")),
        _ => Ok(identity),
    }
}
