//! What the tests stand on: real processes that end with the test that started them, and a client that sends exactly what it
//! is told, since other clients tidy up what these tests are about.

mod app;
mod authority;
mod events;
mod gateway;
mod http;
mod keys;
mod load;
mod port;
mod process;
mod random;
mod redis;
mod socket;

use std::time::{Duration, Instant};

pub use app::{App, Expected, alike};
pub use authority::Authority;
pub use events::Events;
pub use gateway::{Gateway, MARKER};
pub use http::{Client, Connection, Response};
pub use keys::Keys;
pub use load::Load;
pub use port::Port;
pub use process::Process;
pub use random::Random;
pub use redis::Redis;
pub use socket::Socket;

/// How long anything may take that takes no time worth naming.
pub const SOON: Duration = Duration::from_secs(20);

/// Waits until something is there, and panics when it is not in time.
pub fn until<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < within, "{what}: not within {within:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
