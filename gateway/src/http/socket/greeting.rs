//! The beginning of a socket whose client could show no credential when it opened it: its first frame shows one.

use std::{borrow::Cow, net::IpAddr, time::Duration};

use futures::{SinkExt, StreamExt};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::json;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

use super::{
    super::stream::Stream,
    NOT_KNOWN,
    call::{Caller, join, open},
    frame::{self, Id, Read},
};
use crate::{
    auth::gate::Credential,
    error::{Code, Error},
    rates::Seat,
};

/// How long it may take.
const WITHIN: Duration = Duration::from_secs(5);
/// What may be sent before it, and with it.
pub(super) const LONGEST: usize = 64 << 10;
/// Bytes of the reason of a close (RFC 6455, 5.5).
const LONGEST_REASON: usize = 123;
/// How long a client that is turned away may take to say good-bye.
const FAREWELL: Duration = Duration::from_secs(1);

/// A client that nobody knows yet.
pub(super) struct Guest {
    /// What its calls will have in common; the identity is that of nobody.
    pub(super) caller: Caller,
    pub(super) client: IpAddr,
    /// The database that the socket's path names. Whether there is one is told to those who may know.
    pub(super) database: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shown<'a> {
    #[serde(borrow)]
    token: Cow<'a, str>,
}

type Socket = WebSocketStream<TokioIo<Stream>>;

impl Guest {
    /// Waits for the client's credential, and says whom it proves. A client that shows none that is taken is turned away.
    pub(super) async fn greet(mut self, stream: &mut Socket) -> Option<(Caller, Option<Seat>)> {
        let shared = self.caller.worker.shared.clone();
        let first = tokio::select! {
            first = tokio::time::timeout(WITHIN, first(stream)) => first,
            () = shared.drain.stopping() => return None,
        };
        let refused = match first {
            Err(_) => (None, Error::new(Code::Unauthenticated, "no credential was shown in time")),
            Ok(None) => return None,
            Ok(Some(text)) => match self.know(&text).await {
                Ok((id, seat)) => {
                    let result = json!({ "result": { "identity": self.caller.identity.name } });
                    let mut answer = Vec::new();
                    open(Some(&id), &mut answer);
                    let at = answer.len();
                    answer.extend_from_slice(result.to_string().as_bytes());
                    join(&mut answer, at);
                    let answer = String::from_utf8(answer).ok()?;
                    stream.send(Message::text(answer)).await.ok()?;
                    stream.get_mut().inner_mut().read_freely();
                    return Some((self.caller, seat));
                }
                Err(refused) => refused,
            },
        };
        self.turn_away(stream, refused).await;
        None
    }

    async fn know(&mut self, text: &str) -> Result<(Id, Option<Seat>), (Option<Id>, Error)> {
        let (id, frame) = match frame::read(text) {
            Read::Call(id, frame) => (id, frame),
            Read::Refused(id, error) => return Err((id, error)),
            Read::Unreadable(error) => return Err((None, error)),
        };
        match self.prove(&frame).await {
            Ok(seat) => Ok((id, seat)),
            Err(error) => Err((Some(id), error)),
        }
    }

    async fn prove(&mut self, frame: &frame::Frame<'_>) -> Result<Option<Seat>, Error> {
        if frame.op != "authenticate" {
            return Err(Error::new(Code::Unauthenticated, "the first frame has to be `authenticate` with `args.token`").param("op"));
        }
        let shown = frame.args.and_then(|args| serde_json::from_str::<Shown<'_>>(args.get()).ok());
        let shown = shown.ok_or_else(|| Error::new(Code::InvalidArgument, "expected {\"token\": \"…\"}").param("args"))?;
        let shared = &self.caller.worker.shared;
        let identity = shared.gate.identify(&Credential::Bearer(&shown.token)).await?;
        if let Some(name) = &self.database {
            let index = self.caller.worker.databases.iter().position(|database| database.name == *name);
            self.caller.database = Some(index.ok_or_else(super::super::unknown_database)?);
        }
        let allowance = shared.rates.as_ref().map(|rates| rates.allowance(&identity, || self.client));
        let seat = allowance.as_ref().map(|allowance| allowance.seat(self.caller.database)).transpose()?;
        (self.caller.identity, self.caller.allowance) = (identity, allowance);
        Ok(seat)
    }

    async fn turn_away(&self, stream: &mut Socket, (id, error): (Option<Id>, Error)) {
        let code = if error.code == Code::Unauthenticated { NOT_KNOWN } else { CloseCode::Policy };
        let reason = if code == NOT_KNOWN { error.detail.as_ref() } else { "the first frame is not what was expected" };
        let frame = CloseFrame { code, reason: short(reason).into() };
        let goodbye = async {
            if let Ok(answer) = String::from_utf8(self.caller.refuse(id.as_ref(), &error)) {
                stream.send(Message::text(answer)).await?;
            }
            stream.close(Some(frame)).await?;
            while stream.next().await.transpose()?.is_some() {}
            Ok::<(), tokio_tungstenite::tungstenite::Error>(())
        };
        // Who does not listen is left.
        let _ = tokio::time::timeout(FAREWELL, goodbye).await;
        self.caller.worker.counters.sockets.close(code.into(), 1, 1);
    }
}

/// What of a text fits into the frame that closes a socket.
fn short(text: &str) -> String {
    let mut length = 0;
    text.chars()
        .take_while(|letter| {
            length += letter.len_utf8();
            length <= LONGEST_REASON
        })
        .collect()
}

/// The first text; none from who has gone or cannot be understood.
async fn first(stream: &mut Socket) -> Option<String> {
    loop {
        match stream.next().await?.ok()? {
            Message::Text(text) => return Some(text.as_str().to_owned()),
            Message::Ping(_) | Message::Pong(_) => {}
            Message::Binary(_) | Message::Close(_) | Message::Frame(_) => return None,
        }
    }
}
