//! Sentinels: they know which server is the primary, and say when another becomes it. They are asked in turn, and what
//! they say of a server is checked with the server itself.

use std::{
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use bytes::BytesMut;
use dbx_crds::config::Host;
use tokio::{io::AsyncWriteExt, time::Instant};

use super::{
    Endpoint,
    greeting::{self, Refused},
    stream::{self, Stream},
};
use crate::{
    error::Code,
    resp::{self, Item, Reader},
};

/// How long one Sentinel may take to answer before the next is asked.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long one that is listened to may say nothing before the next is.
const QUIET: Duration = Duration::from_secs(10);
/// The channel on which Sentinels tell that another server is the primary.
const SWITCHED: &[u8] = b"+switch-master";

/// The Sentinel that is asked next.
static TURN: AtomicUsize = AtomicUsize::new(0);

/// Where the primary of a name is: what the first Sentinel says that answers.
pub(super) async fn primary(endpoint: &Endpoint, sentinels: &[Host], name: &str) -> Result<Host, Refused> {
    let mut told = String::new();
    for _ in sentinels {
        let host = &sentinels[TURN.load(Relaxed) % sentinels.len()];
        match tokio::time::timeout(PATIENCE, ask(endpoint, host, name, false)).await {
            Ok(Ok((_, _, primary))) => return Ok(primary),
            Ok(Err(refused)) => told = format!("Sentinel {host}: {}", refused.message),
            Err(_) => told = format!("Sentinel {host}: no answer within {} ms", PATIENCE.as_millis()),
        }
        TURN.fetch_add(1, Relaxed);
    }
    Err(Refused::new(Code::Unavailable, "no Sentinel says where the database is", told))
}

/// The server was not what a Sentinel said, so another is asked the next time.
pub(super) fn doubt() {
    TURN.fetch_add(1, Relaxed);
}

/// Ends once a Sentinel names another primary than this.
pub(super) async fn moved(endpoint: &Endpoint, sentinels: &[Host], name: &str, current: &Host) {
    for turn in 0.. {
        let host = &sentinels[(TURN.load(Relaxed) + turn) % sentinels.len()];
        if let Ok(Ok((mut stream, mut input, primary))) = tokio::time::timeout(PATIENCE, ask(endpoint, host, name, true)).await {
            if primary != *current {
                return;
            }
            while let Ok(Ok(frame)) = tokio::time::timeout(QUIET, greeting::frame(&mut stream, &mut input)).await {
                if is_switch(&frame, name) {
                    return;
                }
            }
        }
        tokio::time::sleep(PATIENCE).await;
    }
}

/// Asks one Sentinel, and on the same connection listens to it from then on if asked to.
async fn ask(endpoint: &Endpoint, sentinel: &Host, name: &str, listen: bool) -> Result<(Stream, BytesMut, Host), Refused> {
    let deadline = Instant::now() + PATIENCE;
    let mut stream = stream::tcp(sentinel, endpoint.tls.as_ref(), deadline).await?;
    let mut out = BytesMut::new();
    let log_in = greeting::log_in(&endpoint.sentinel, &mut out)?;
    resp::write_command(&mut out, &[b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", name.as_bytes()]);
    if listen {
        resp::write_command(&mut out, &[b"SUBSCRIBE", SWITCHED]);
    }
    stream.write_all(&out).await.map_err(greeting::lost)?;
    stream.flush().await.map_err(greeting::lost)?;
    let mut input = BytesMut::new();
    if let Some(step) = log_in {
        step.check(&greeting::frame(&mut stream, &mut input).await?)?;
    }
    let frame = greeting::frame(&mut stream, &mut input).await?;
    Ok((stream, input, address(&frame, name)?))
}

fn address(frame: &[u8], name: &str) -> Result<Host, Refused> {
    let refuse = |message: String| Refused::new(Code::Unavailable, "no Sentinel says where the database is", message);
    let mut reader = Reader::new(frame);
    match reader.read() {
        Ok(Item::Array(Some(2))) => {}
        Ok(Item::Error(line)) => return Err(refuse(String::from_utf8_lossy(line).into_owned())),
        Ok(Item::Array(None)) => return Err(refuse(format!("knows no primary called {name:?}"))),
        _ => return Err(refuse("not a Sentinel".into())),
    }
    let mut text = || match reader.read() {
        Ok(Item::Bulk(Some(text))) => std::str::from_utf8(text).ok(),
        _ => None,
    };
    let (host, port) = (text(), text().and_then(|port| port.parse().ok()));
    let (name, port) = host.zip(port).ok_or_else(|| refuse("not a Sentinel".into()))?;
    Ok(Host { name: name.to_owned(), port })
}

/// Whether a message says that the primary of a name is another server.
fn is_switch(frame: &[u8], name: &str) -> bool {
    let mut reader = Reader::new(frame);
    let words = [reader.read(), reader.read(), reader.read(), reader.read()];
    let [Ok(Item::Array(Some(3))), Ok(Item::Bulk(Some(b"message"))), Ok(Item::Bulk(Some(SWITCHED))), Ok(Item::Bulk(Some(text)))] = words
    else {
        return false;
    };
    text.split(|byte| *byte == b' ').next() == Some(name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sentinels_say_is_read() {
        let read = |frame: &[u8]| address(frame, "mymaster").map_err(|refused| refused.message);
        assert_eq!(read(b"*2\r\n$4\r\n::1a\r\n$4\r\n6379\r\n").unwrap(), Host { name: "::1a".into(), port: 6379 });
        assert!(read(b"*-1\r\n").unwrap_err().contains("mymaster"));
        assert_eq!(read(b"-NOAUTH x\r\n").unwrap_err(), "NOAUTH x");
        assert_eq!(read(b"+OK\r\n").unwrap_err(), "not a Sentinel");
        let message = b"*3\r\n$7\r\nmessage\r\n$14\r\n+switch-master\r\n$22\r\nmymaster a 6379 b 6379\r\n";
        assert!(is_switch(message, "mymaster") && !is_switch(message, "my") && !is_switch(b"*1\r\n:1\r\n", "my"));
    }
}
