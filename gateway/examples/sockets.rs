//! Load over WebSockets, to be measured against: so many sockets with so many calls of GET in flight each, or none.
//! It sends what it can in one write and prints how many calls were answered, and in how many seconds.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use clap::Parser;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::LocalSet,
};

#[derive(Parser)]
struct Settings {
    /// Where the gateway listens.
    #[arg(long)]
    address: String,
    #[arg(long, default_value_t = 64)]
    sockets: usize,
    /// Calls in flight on each; without any they are held open until standard input ends.
    #[arg(long, default_value_t = 16)]
    calls: u16,
    #[arg(long, default_value_t = 3)]
    seconds: u64,
}

fn main() -> anyhow::Result<()> {
    let settings = Settings::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, load(settings))
}

async fn load(settings: Settings) -> anyhow::Result<()> {
    let mut sockets = Vec::new();
    for _ in 0..settings.sockets {
        sockets.push(open(&settings.address).await?);
    }
    println!("open");
    if settings.calls == 0 {
        tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await??;
        return Ok(());
    }
    let started = Instant::now();
    let end = started + Duration::from_secs(settings.seconds);
    let answered = std::rc::Rc::new(Cell::new(0_u64));
    let tasks = sockets.into_iter().map(|socket| tokio::task::spawn_local(call(socket, settings.calls, end, answered.clone())));
    for task in tasks.collect::<Vec<_>>() {
        task.await??;
    }
    println!("{} calls in {:.3}s", answered.get(), started.elapsed().as_secs_f64());
    Ok(())
}

async fn open(address: &str) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let request = "GET /api/v1/redis/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        ensure!(stream.read_buf(&mut answer).await? > 0, "the gateway closed the connection");
    }
    ensure!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
    Ok(stream)
}

/// A call as a masked text frame; the mask changes nothing.
fn frame(id: u16) -> anyhow::Result<Vec<u8>> {
    let call = format!(r#"{{"id":{id},"op":"get","args":{{"key":"a"}}}}"#);
    let mut frame = vec![0x81, 0x80 | u8::try_from(call.len()).context("a short call")?, 0, 0, 0, 0];
    frame.extend_from_slice(call.as_bytes());
    Ok(frame)
}

/// Sends a call for each answer.
async fn call(mut stream: TcpStream, calls: u16, end: Instant, answered: std::rc::Rc<Cell<u64>>) -> anyhow::Result<()> {
    let frames = (0..calls).map(frame).collect::<anyhow::Result<Vec<_>>>()?;
    let (mut next, mut read) = (frames.concat(), Vec::with_capacity(16 << 10));
    let mut running = u64::from(calls);
    stream.write_all(&next).await?;
    while running > 0 {
        ensure!(stream.read_buf(&mut read).await? > 0, "the gateway closed a socket");
        next.clear();
        let (mut at, goes_on) = (0, Instant::now() < end);
        while let Some(&[0x81, length]) = read.get(at..at + 2)
            && let Some(answer) = read.get(at + 2..at + 2 + usize::from(length))
        {
            at += 2 + answer.len();
            let digits = answer.get(6..).unwrap_or_default().split(|byte| *byte == b',').next().unwrap_or_default();
            let id: usize = std::str::from_utf8(digits)?.parse().with_context(|| String::from_utf8_lossy(answer).into_owned())?;
            ensure!(answer.ends_with(b",\"result\":\"1\"}"), "{}", String::from_utf8_lossy(answer));
            answered.set(answered.get() + 1);
            if goes_on {
                next.extend_from_slice(frames.get(id).context("an id of ours")?);
            } else {
                running -= 1;
            }
        }
        read.drain(..at);
        if !next.is_empty() {
            stream.write_all(&next).await?;
        }
    }
    Ok(())
}
