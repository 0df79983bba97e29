//! The least that an HTTP server on this stack can cost: bare axum with a constant body. `make bench` compares with it.

use std::net::SocketAddr;

use axum::{Router, routing::get};
use clap::Parser;
use dbx_gateway::listener;
use tokio::net::TcpListener;

/// Answers every GET with the same bytes.
#[derive(Parser)]
struct Arguments {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:3100")]
    listen: SocketAddr,
    /// Single-threaded runtimes, each with a listener of its own on the same port.
    #[arg(long, default_value_t = 1)]
    workers: usize,
}

fn main() -> anyhow::Result<()> {
    let Arguments { listen, workers } = Arguments::parse();
    let workers: Vec<_> = (0..workers).map(|_| std::thread::spawn(move || serve(listen))).collect();
    for worker in workers {
        worker.join().expect("a worker does not panic")?;
    }
    Ok(())
}

fn serve(address: SocketAddr) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let router = Router::new().route("/{*path}", get(async || "{\"result\":\"1\"}"));
        let listener = TcpListener::from_std(listener::listen(address)?)?;
        Ok(axum::serve(listener, router).await?)
    })
}
