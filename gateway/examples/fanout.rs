//! Many sockets on one channel, to be measured against. `listen` subscribes so many sockets and checks that each hears every
//! message once and in order; `floor` is the least that it can cost: a bare program that writes once to each of its
//! connections for each line that it reads.

#![expect(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Parser;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

#[derive(Parser)]
enum Settings {
    /// Opens sockets and hears messages that are numbered from 0.
    Listen {
        #[arg(long)]
        address: String,
        #[arg(long, default_value_t = 1000)]
        sockets: usize,
        #[arg(long)]
        messages: usize,
        /// The server is the floor: there is nothing to subscribe to.
        #[arg(long)]
        bare: bool,
    },
    /// Writes to all its connections.
    Floor {
        #[arg(long)]
        address: String,
    },
}

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match Settings::parse() {
        Settings::Listen { address, sockets, messages, bare } => runtime.block_on(listen(&address, sockets, messages, bare)),
        Settings::Floor { address } => runtime.block_on(floor(&address)),
    }
}

async fn listen(address: &str, sockets: usize, messages: usize, bare: bool) -> anyhow::Result<()> {
    let mut streams = Vec::new();
    for _ in 0..sockets {
        let mut stream = TcpStream::connect(address).await?;
        if !bare {
            subscribe(&mut stream).await?;
        }
        streams.push(stream);
    }
    println!("ready");
    let readers = streams.into_iter().map(|stream| tokio::spawn(hear(stream, messages)));
    for reader in readers.collect::<Vec<_>>() {
        reader.await??;
    }
    println!("{} messages", sockets * messages);
    Ok(())
}

async fn subscribe(stream: &mut TcpStream) -> anyhow::Result<()> {
    let request = "GET /api/v1/redis/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        ensure!(stream.read_buf(&mut answer).await? > 0, "the gateway closed the connection");
    }
    let call = br#"{"id":1,"op":"subscribe","args":{"channels":["news"]}}"#;
    // The mask changes nothing.
    let mut frame = vec![0x81, 0x80 | u8::try_from(call.len())?, 0, 0, 0, 0];
    frame.extend_from_slice(call);
    stream.write_all(&frame).await?;
    answer.clear();
    while !answer.ends_with(br#""result":{"subscription":1}}"#) {
        ensure!(stream.read_buf(&mut answer).await? > 0, "the gateway closed the connection");
    }
    Ok(())
}

/// Reads frames whose text ends with the number of the message.
async fn hear(mut stream: TcpStream, messages: usize) -> anyhow::Result<()> {
    let (mut read, mut heard) = (Vec::with_capacity(4096), 0);
    while heard < messages {
        ensure!(stream.read_buf(&mut read).await? > 0, "the connection was closed after {heard} messages");
        let mut at = 0;
        while let Some(&[0x81, length]) = read.get(at..at + 2)
            && let Some(text) = read.get(at + 2..at + 2 + usize::from(length))
        {
            let number = text.rsplit(|byte| *byte == b':').next().context("a message")?;
            let number: usize = std::str::from_utf8(number)?.trim_matches(['"', '}']).parse()?;
            ensure!(number == heard, "message {number} came instead of {heard}");
            heard += 1;
            at += 2 + text.len();
        }
        read.drain(..at);
    }
    Ok(())
}

async fn floor(address: &str) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await?;
    println!("ready");
    let (sender, mut lines) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || std::io::stdin().lines().map_while(Result::ok).try_for_each(|_| sender.send(())));
    let (mut streams, mut number) = (Vec::new(), 0);
    loop {
        tokio::select! {
            // Who has connected hears everything from now on.
            biased;
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                stream.set_nodelay(true)?;
                streams.push(stream);
            }
            line = lines.recv() => {
                if line.is_none() {
                    // What was written last is on its way.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    return Ok(());
                }
                let text = format!(r#"{{"subscription":1,"channel":"news","message":"{number}"}}"#);
                let mut frame = vec![0x81, u8::try_from(text.len())?];
                frame.extend_from_slice(text.as_bytes());
                for stream in &mut streams {
                    stream.write_all(&frame).await?;
                }
                number += 1;
            }
        }
    }
}
