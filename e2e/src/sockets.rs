//! Calls over WebSockets without an end. A socket that is closed with 1012 is opened again after the time that the close
//! names, and a call that the close left unanswered is made again: the gateway has not read it, so it was not executed.
//! Every call counts something up by one, so that one which is lost or made twice is seen.

use std::{
    cell::{Cell, RefCell},
    io::Write,
    rc::Rc,
    time::Duration,
};

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{self, Message, protocol::frame::coding::CloseCode},
};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;
/// What came, or after which time to come back, since the socket was closed.
type Ended<T> = Result<T, Duration>;

const REPORT: Duration = Duration::from_millis(250);
/// How long the way to a new Service may take to lead there.
const NEW_SERVICE: Duration = Duration::from_secs(30);
/// An answer that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(15);
/// Failures that are told in full.
const TOLD: usize = 10;
/// Of so many sockets one hears the channel and one follows the stream, beside their calls.
const EVERY: u32 = 10;
/// The socket that adds to the stream, and the one that publishes.
const WRITER: u32 = 0;
const PUBLISHER: u32 = 3;
/// The ids of what goes on.
const HEARD: u64 = 1;
const FOLLOWED: u64 = 2;
const FIRST_CALL: u64 = 10;

#[derive(Default)]
struct Counts {
    answered: Cell<u64>,
    /// Calls that were made again, since a close came instead of their answers.
    repeated: Cell<u64>,
    /// Closes with 1012.
    restarts: Cell<u64>,
    /// Sockets that were refused since the gateway is about to stop.
    refused: Cell<u64>,
    open: Cell<u64>,
    written: Cell<u64>,
    heard: Cell<u64>,
    /// By follower: the last number.
    followed: RefCell<Vec<u64>>,
    failed: Cell<u64>,
    failures: RefCell<Vec<String>>,
}

fn add(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}

impl Counts {
    fn fail(&self, what: String) {
        add(&self.failed);
        let mut failures = self.failures.borrow_mut();
        if failures.len() < TOLD {
            failures.push(what);
        }
    }

    fn report(&self) -> Value {
        json!({
            "answered": self.answered.get(), "repeated": self.repeated.get(), "restarts": self.restarts.get(),
            "refused": self.refused.get(), "open": self.open.get(), "written": self.written.get(), "heard": self.heard.get(),
            "followed": self.followed.borrow().iter().min(), "failed": self.failed.get(),
            "failures": self.failures.borrow().join("; "),
        })
    }
}

/// Calls until the process is ended; prints the counts, one JSON object a line.
pub(crate) fn run(url: &str, count: u32, pause: Duration) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    let counts = Rc::new(Counts::default());
    tokio::task::LocalSet::new().block_on(&runtime, async move {
        for number in 0..count {
            let followers = counts.followed.borrow().len();
            let follows = number % EVERY == 1;
            if follows {
                counts.followed.borrow_mut().push(0);
            }
            let client = Client {
                url: url.to_owned(),
                counts: counts.clone(),
                number,
                pause,
                follower: follows.then_some(followers),
                round: 0,
                entry: "0".into(),
                last_heard: None,
                next_id: FIRST_CALL,
            };
            tokio::task::spawn_local(client.run());
        }
        loop {
            sleep(REPORT).await;
            let mut out = std::io::stdout().lock();
            writeln!(out, "{}", counts.report()).and_then(|()| out.flush()).map_err(|error| error.to_string())?;
        }
    })
}

struct Client {
    url: String,
    counts: Rc<Counts>,
    number: u32,
    pause: Duration,
    /// Its place among the followers.
    follower: Option<usize>,
    /// How often its key was counted up.
    round: u64,
    /// The last entry of the stream.
    entry: String,
    /// The last message of the channel, on this socket.
    last_heard: Option<u64>,
    next_id: u64,
}

impl Client {
    async fn run(mut self) {
        // Not all come at once.
        sleep(Duration::from_millis(u64::from(self.number) * 4)).await;
        // Nodes learn of a new Service one after the other; until then its address is nobody's, or still leads to who had it before.
        let (began, mut connected) = (Instant::now(), false);
        loop {
            let mut socket = match connect_async(&self.url).await {
                Ok((socket, _)) => socket,
                Err(_) if !connected && began.elapsed() < NEW_SERVICE => {
                    sleep(Duration::from_secs(1)).await;
                    continue;
                }
                Err(tungstenite::Error::Http(answer)) if answer.status() == 503 => {
                    add(&self.counts.refused);
                    sleep(Duration::from_secs(1)).await;
                    continue;
                }
                Err(error) => {
                    self.counts.fail(format!("socket {}: cannot connect: {error}", self.number));
                    sleep(Duration::from_secs(1)).await;
                    continue;
                }
            };
            connected = true;
            self.counts.open.set(self.counts.open.get() + 1);
            let Err(after) = self.serve(&mut socket).await;
            self.counts.open.set(self.counts.open.get() - 1);
            // The answer to the close is sent, and the gateway ends the connection.
            let _ = timeout(PATIENCE, async { while let Some(Ok(_)) = socket.next().await {} }).await;
            sleep(after).await;
        }
    }

    /// Calls until the socket is closed.
    async fn serve(&mut self, socket: &mut Socket) -> Ended<std::convert::Infallible> {
        self.last_heard = None;
        if self.number % EVERY == 2 {
            self.begin(socket, HEARD, "subscribe", json!({ "channels": ["channel"] })).await?;
        }
        if self.follower.is_some() {
            self.begin(socket, FOLLOWED, "follow", json!({ "key": "stream", "from": self.entry })).await?;
        }
        loop {
            let round = self.round + 1;
            // What is written is numbered by what has been counted.
            if self.number == WRITER {
                let fields = json!({ "n": round.to_string() });
                self.call(socket, "xadd", json!({ "key": "stream", "id": format!("{round}-0"), "fields": fields })).await?;
                self.counts.written.set(round);
            } else if self.number == PUBLISHER {
                self.call(socket, "publish", json!({ "channel": "channel", "message": round.to_string() })).await?;
            } else {
                let result = self.call(socket, "incr", json!({ "key": format!("sockets-{}", self.number) })).await?;
                if result != json!(round) {
                    self.counts.fail(format!("socket {}: expected {round}, not {result}", self.number));
                }
            }
            self.round = round;
            let until = Instant::now() + self.pause;
            loop {
                tokio::select! {
                    () = sleep_until(until) => break,
                    frame = socket.next() => drop(self.take(frame)?),
                }
            }
        }
    }

    async fn begin(&mut self, socket: &mut Socket, id: u64, op: &str, args: Value) -> Ended<()> {
        self.ask(socket, id, op, args).await.map(drop)
    }

    async fn call(&mut self, socket: &mut Socket, op: &str, args: Value) -> Ended<Value> {
        self.next_id += 1;
        let result = self.ask(socket, self.next_id, op, args).await;
        add(if result.is_ok() { &self.counts.answered } else { &self.counts.repeated });
        result
    }

    async fn ask(&mut self, socket: &mut Socket, id: u64, op: &str, args: Value) -> Ended<Value> {
        // Where it cannot be sent, a close waits to be read.
        let _ = socket.send(Message::text(json!({ "id": id, "op": op, "args": args }).to_string())).await;
        let until = Instant::now() + PATIENCE;
        loop {
            let frame = tokio::select! {
                () = sleep_until(until) => {
                    self.counts.fail(format!("socket {}: {op} was not answered", self.number));
                    return Err(Duration::ZERO);
                }
                frame = socket.next() => frame,
            };
            if let Some(answer) = self.take(frame)? {
                if answer["id"] != json!(id) {
                    self.counts.fail(format!("socket {}: unexpected {answer}", self.number));
                } else if answer["error"].is_null() {
                    return Ok(answer["result"].clone());
                } else if answer["error"]["retryable"] == json!(true) {
                    // A close follows.
                } else {
                    self.counts.fail(format!("socket {}: {op}: {answer}", self.number));
                    return Ok(Value::Null);
                }
            }
        }
    }

    /// Looks at a frame: the answer to a call, if it is one; the time after which to come back, if it is a close.
    fn take(&mut self, frame: Option<Result<Message, tungstenite::Error>>) -> Ended<Option<Value>> {
        let text = match frame {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Close(Some(close)))) if close.code == CloseCode::Restart => {
                let hint: Option<u64> = serde_json::from_str::<Value>(&close.reason).ok().and_then(|hint| hint["reconnectAfter"].as_u64());
                add(&self.counts.restarts);
                return Err(Duration::from_millis(hint.unwrap_or_else(|| {
                    self.counts.fail(format!("socket {}: no hint: {}", self.number, close.reason));
                    0
                })));
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => return Ok(None),
            other => {
                self.counts.fail(format!("socket {}: ended by {other:?}", self.number));
                return Err(Duration::from_secs(1));
            }
        };
        let value: Value = serde_json::from_str(&text).unwrap_or_default();
        match value["subscription"].as_u64() {
            Some(HEARD) if value["message"].is_string() => {
                let number = value["message"].as_str().and_then(|text| text.parse().ok()).unwrap_or_default();
                if self.last_heard.is_some_and(|last| last + 1 != number) {
                    self.counts.fail(format!("socket {}: heard {number} after {:?}", self.number, self.last_heard));
                }
                self.last_heard = Some(number);
                add(&self.counts.heard);
            }
            Some(FOLLOWED) if value["entries"].is_array() => self.follow(&value),
            Some(_) => self.counts.fail(format!("socket {}: {value}", self.number)),
            None => return Ok(Some(value)),
        }
        Ok(None)
    }

    fn follow(&mut self, value: &Value) {
        let mut followed = self.counts.followed.borrow_mut();
        let Some(last) = self.follower.and_then(|follower| followed.get_mut(follower)) else { return };
        for entry in value["entries"].as_array().into_iter().flatten() {
            let number = entry["fields"]["n"].as_str().and_then(|text| text.parse().ok()).unwrap_or_default();
            if *last + 1 != number {
                self.counts.fail(format!("socket {}: followed {number} after {last}", self.number));
            }
            *last = number;
            self.entry = entry["id"].as_str().unwrap_or_default().into();
        }
    }
}
