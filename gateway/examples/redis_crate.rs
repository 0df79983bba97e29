//! What the obvious gateway costs: axum and one multiplexed connection of the redis crate per single-threaded runtime. It
//! checks nothing and counts nothing. `make bench` compares with it.

use std::net::SocketAddr;

use axum::{
    Router,
    extract::{Path, State},
    http::StatusCode,
    routing::get,
};
use clap::Parser;
use dbx_gateway::listener;
use redis::aio::MultiplexedConnection;
use tokio::net::TcpListener;

/// Answers GET /{key} with the string under that key.
#[derive(Parser)]
struct Arguments {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:3101")]
    listen: SocketAddr,
    /// Single-threaded runtimes, each with a listener of its own on the same port.
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// The Redis to ask.
    #[arg(long, default_value = "redis://127.0.0.1:6379")]
    redis: String,
}

fn main() -> anyhow::Result<()> {
    let Arguments { listen, workers, redis } = Arguments::parse();
    let client = redis::Client::open(redis)?;
    let start = |client: redis::Client| std::thread::spawn(move || serve(listen, client));
    let workers: Vec<_> = (0..workers).map(|_| start(client.clone())).collect();
    for worker in workers {
        worker.join().expect("a worker does not panic")?;
    }
    Ok(())
}

fn serve(address: SocketAddr, client: redis::Client) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let connection = client.get_multiplexed_async_connection().await?;
        let router = Router::new().route("/{key}", get(answer)).with_state(connection);
        let listener = TcpListener::from_std(listener::listen(address)?)?;
        Ok(axum::serve(listener, router).await?)
    })
}

async fn answer(State(mut connection): State<MultiplexedConnection>, Path(key): Path<String>) -> Result<String, StatusCode> {
    let value: Option<String> =
        redis::cmd("GET").arg(key).query_async(&mut connection).await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    let value = value.ok_or(StatusCode::NOT_FOUND)?;
    Ok(format!("{{\"result\":{}}}", serde_json::Value::from(value)))
}
