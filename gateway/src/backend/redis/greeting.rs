//! What is said on a new connection before any call: who we are, which database, and which commands the server has.

use bytes::BytesMut;
use dbx_crds::config::RedisAddress;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{Down, Endpoint, endpoint::Credentials, tls};
use crate::{
    error::Code,
    operation,
    resp::{self, Item, Reader, Scanner},
};

/// Why a connection is not usable: what calls are told, and what the log and `/readyz` say.
pub(super) struct Refused {
    pub(super) down: Down,
    pub(super) message: String,
}

impl Refused {
    pub(super) fn new(code: Code, detail: &'static str, message: impl Into<String>) -> Self {
        Self { down: Down { code, detail }, message: message.into() }
    }
}

pub(super) fn lost(error: std::io::Error) -> Refused {
    tls::explain(&error).unwrap_or_else(|| {
        Refused::new(Code::Unavailable, "the database cannot be reached", format!("connection lost while greeting: {error}"))
    })
}

/// Writes what logs in, where somebody is to.
pub(super) fn log_in(credentials: &Credentials, out: &mut BytesMut) -> Result<Option<Step>, Refused> {
    let Some(password) = &credentials.password else { return Ok(None) };
    let password =
        password().map_err(|message| Refused::new(Code::BackendDenied, "the gateway has no password for the database", message))?;
    match &credentials.username {
        Some(username) => resp::write_command(out, &[b"AUTH", username.as_bytes(), password.as_bytes()]),
        None => resp::write_command(out, &[b"AUTH", password.as_bytes()]),
    }
    Ok(Some(Step::LogIn))
}

/// Whether a server is asked for its commands. The answer is long, so not every connection asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Commands {
    /// It is.
    Asked,
    /// They are known, or do not matter.
    Known,
}

/// Greets the server. Gives, by operation, whether it has the command, where it is asked.
pub(super) async fn greet<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    endpoint: &Endpoint,
    commands: Commands,
) -> Result<Vec<bool>, Refused> {
    let mut out = BytesMut::new();
    let mut steps = Vec::from_iter(log_in(&endpoint.credentials, &mut out)?);
    if endpoint.database != 0 {
        resp::write_command(&mut out, &[b"SELECT", endpoint.database.to_string().as_bytes()]);
        steps.push(Step::Select);
    }
    if matches!(endpoint.address, RedisAddress::Sentinel(..)) {
        resp::write_command(&mut out, &[b"ROLE"]);
        steps.push(Step::Primary);
    }
    if endpoint.reads_replica {
        resp::write_command(&mut out, &[b"READONLY"]);
        steps.push(Step::Optional);
    }
    resp::write_command(&mut out, &[b"CLIENT", b"SETNAME", endpoint.client_name.as_bytes()]);
    steps.push(Step::Optional);
    resp::write_command(&mut out, &[b"PING"]);
    steps.push(Step::Ping);
    if commands == Commands::Asked {
        let names = command_names();
        let words: Vec<&[u8]> = [&b"COMMAND"[..], b"INFO"].into_iter().chain(names.iter().map(|name| name.as_bytes())).collect();
        resp::write_command(&mut out, &words);
        steps.push(Step::Optional);
    }
    let mut input = BytesMut::new();
    if let Err(error) = stream.write_all(&out).await {
        // A server that hangs up may have said why.
        return Err(stream.read_buf(&mut input).await.err().map_or_else(|| lost(error), lost));
    }
    stream.flush().await.map_err(lost)?;

    let mut last = BytesMut::new();
    for step in steps {
        last = frame(stream, &mut input).await?;
        step.check(&last)?;
    }
    Ok(supported(&last))
}

/// What the server is to answer to.
pub(super) enum Step {
    LogIn,
    Primary,
    Select,
    Ping,
    Optional,
}

impl Step {
    pub(super) fn check(&self, reply: &[u8]) -> Result<(), Refused> {
        if matches!(self, Self::Primary) && reply.starts_with(b"*5\r\n$5\r\nslave\r\n") {
            return Err(Refused::new(Code::Unavailable, "the database has no primary at the moment", "the server is a replica"));
        }
        let Ok(Item::Error(line)) = Reader::new(reply).read() else { return Ok(()) };
        let message = String::from_utf8_lossy(line).into_owned();
        let code = crate::error::from_redis(line).code;
        match self {
            // Who may not ask for the role believes the Sentinels.
            Self::Optional | Self::Primary => Ok(()),
            Self::LogIn => Err(Refused::new(Code::BackendDenied, "the database refuses the gateway's password", message)),
            Self::Select if code != Code::Unavailable && code != Code::BackendDenied => {
                Err(Refused::new(Code::Unavailable, "the database has no such index", message))
            }
            _ if code == Code::BackendDenied => {
                Err(Refused::new(code, "the database wants credentials that the gateway does not have", message))
            }
            _ => Err(Refused::new(Code::Unavailable, "the database is not ready", message)),
        }
    }
}

pub(super) async fn frame<S: AsyncRead + Unpin>(stream: &mut S, input: &mut BytesMut) -> Result<BytesMut, Refused> {
    let mut scanner = Scanner::default();
    loop {
        let end = scanner
            .scan(input)
            .map_err(|_| Refused::new(Code::BackendError, "the database does not speak Redis's protocol", "not RESP2"))?;
        if let Some(end) = end {
            return Ok(input.split_to(end));
        }
        if stream.read_buf(input).await.map_err(lost)? == 0 {
            return Err(lost(std::io::ErrorKind::UnexpectedEof.into()));
        }
    }
}

/// For each operation the name of its command as `COMMAND INFO` knows it, then that of the command a sub-command is of.
fn command_names() -> Vec<String> {
    let operations = operation::all();
    let whole = operations.iter().map(|operation| operation.command.words.join("|"));
    let first = operations.iter().map(|operation| operation.command.words[0].to_owned());
    whole.chain(first).collect()
}

/// Reads the answer to `COMMAND INFO` of [`command_names`]. A server before Redis 7 knows no sub-commands by name: there
/// the command itself decides. A server that does not answer the question is taken to have everything.
fn supported(reply: &[u8]) -> Vec<bool> {
    let count = operation::all().len();
    let mut reader = Reader::new(reply);
    let mut known = Vec::new();
    if reader.read() != Ok(Item::Array(Some(2 * count))) {
        return Vec::new();
    }
    for _ in 0..2 * count {
        match reader.read() {
            Ok(Item::Array(Some(fields))) => {
                known.push(Some(fields));
                let mut pending = fields;
                while pending > 0 {
                    pending -= 1;
                    match reader.read() {
                        Ok(Item::Array(Some(elements))) => pending += elements,
                        Ok(_) => {}
                        Err(_) => return Vec::new(),
                    }
                }
            }
            Ok(_) => known.push(None),
            Err(_) => return Vec::new(),
        }
    }
    // Entries have ten fields since Redis 7, which is when sub-commands got entries of their own.
    (0..count).map(|index| known[index].is_some() || known[count + index].is_some_and(|fields| fields < 10)).collect()
}
