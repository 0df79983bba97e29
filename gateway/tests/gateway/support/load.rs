//! Steady traffic: clients that keep their connections, each call counted by what it ended in.

use std::{
    io::ErrorKind,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{Client, Connection, Response};

/// What all clients have seen so far.
#[derive(Default)]
pub struct Seen {
    /// Calls that were answered, by whether they change something: status and body of each that failed.
    pub failed: Vec<(bool, Response)>,
    pub reads: u64,
    pub writes: u64,
    /// Answers that asked for the connection to be closed.
    pub closes: u64,
    /// Calls that were not answered: when, and why.
    pub broken: Vec<(Instant, String)>,
}

pub struct Load {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts clients that increment and read the key `counter`. A client goes to the next of the gateways when it is asked
    /// to close its connection; with only one, it comes back until it is refused.
    pub fn start(clients: usize, gateways: &[Client]) -> Self {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Seen::default())));
        let clients = (0..clients)
            .map(|_| {
                let (stop, seen, gateways) = (stop.clone(), seen.clone(), gateways.to_vec());
                std::thread::spawn(move || call_until(&stop, &seen, &gateways))
            })
            .collect();
        Self { stop, seen, clients }
    }

    pub fn look<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.lock().unwrap())
    }

    /// Waits for clients that end by themselves.
    pub fn wait(self) -> Seen {
        for client in self.clients {
            client.join().unwrap();
        }
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    pub fn stop(self) -> Seen {
        self.stop.store(true, Relaxed);
        self.wait()
    }
}

fn call_until(stop: &AtomicBool, seen: &Mutex<Seen>, gateways: &[Client]) {
    let (mut at, mut connection) = (0, None::<Connection>);
    let requests =
        [gateways[0].request("POST", "incr", Some(br#"{"key":"counter"}"#)), gateways[0].request("GET", "strings/counter", None)];
    for turn in 0.. {
        if stop.load(Relaxed) {
            return;
        }
        let writes = turn % 2 == 0;
        if connection.is_none() {
            match gateways[at].try_connect() {
                Ok(new) => connection = Some(new),
                Err(error) if error.kind() == ErrorKind::ConnectionRefused && gateways.len() == 1 => return,
                Err(error) => return seen.lock().unwrap().broken.push((Instant::now(), format!("connecting: {error}"))),
            }
        }
        let Some(open) = &mut connection else { continue };
        let answer = open.exchange(&requests[usize::from(!writes)]);
        let mut seen = seen.lock().unwrap();
        match answer {
            Err(error) => {
                seen.broken.push((Instant::now(), format!("call {turn}: {error}")));
                connection = None;
            }
            Ok(response) => {
                if response.header("connection") == Some("close") {
                    seen.closes += 1;
                    connection = None;
                    at = (at + 1) % gateways.len();
                }
                match response.status {
                    200 if writes => seen.writes += 1,
                    200 => seen.reads += 1,
                    _ => seen.failed.push((writes, response)),
                }
            }
        }
        let failing = seen.failed.len();
        drop(seen);
        if failing > 0 && connection.is_some() {
            // A client that is refused does not hammer.
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
