//! A way to a server that stands still when it is told to: what a slow network is to whoever waits for a large reply.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

/// Replies of a connection beyond this stand still.
const PASSED: usize = 4 << 20;

#[derive(Clone, Default)]
pub struct Proxy {
    pub port: u16,
    open: Arc<AtomicBool>,
    held: Arc<AtomicUsize>,
}

impl Proxy {
    /// A way to a port of this machine.
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let proxy = Self { port: listener.local_addr().unwrap().port(), ..Self::default() };
        let way = proxy.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                let (from, to, way) = (server.try_clone().unwrap(), client.try_clone().unwrap(), way.clone());
                thread::spawn(move || way.pass(from, to, PASSED));
                let way = Self::default();
                thread::spawn(move || way.pass(client, server, usize::MAX));
            }
        });
        proxy
    }

    fn pass(&self, mut from: TcpStream, mut to: TcpStream, most: usize) {
        let (mut buffer, mut passed) = ([0; 16384], 0);
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            passed += count;
            if passed > most && !self.open.load(Relaxed) {
                self.held.fetch_add(1, Relaxed);
                while !self.open.load(Relaxed) {
                    thread::sleep(Duration::from_millis(5));
                }
            }
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    }

    /// How many connections stand still.
    pub fn held(&self) -> usize {
        self.held.load(Relaxed)
    }

    /// Lets everything through.
    pub fn open(&self) {
        self.open.store(true, Relaxed);
    }
}
