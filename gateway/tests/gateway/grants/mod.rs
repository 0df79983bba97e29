//! What callers may do: grants, as they hold over every transport and before a real Redis.

mod calls;
mod explain;
mod listening;
mod refused;
mod table;
mod tenants;
mod users;

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::BytesMut;
use dbx_gateway::{
    operation::{
        Operation,
        arguments::Arguments,
        encode::{Encoding, Rules},
    },
    resp,
};
use serde_json::{Value, json};

use crate::support::{Client, Gateway, Keys, Redis};

const RULES: Rules = Rules { encoding: Encoding::Utf8, max_key_bytes: 1024, max_value_bytes: 1 << 20 };

/// A gateway that knows some callers, before a Redis of its own.
pub struct House {
    _gateway: Gateway,
    pub redis: Redis,
    pub clients: Vec<Client>,
    _keys: Keys,
}

impl House {
    /// One caller for each text of grants, such as `[{ access: [read] }]`.
    pub fn open(grants: &[&str], settings: &[&str]) -> Self {
        Self::before(Redis::with(&["--notify-keyspace-events", "KEA"]), grants, settings)
    }

    pub fn before(redis: Redis, grants: &[&str], settings: &[&str]) -> Self {
        let mut keys = Keys::new();
        let texts: Vec<String> = grants.iter().map(|grants| keys.add("caller", &[&format!("grants: {grants}")])).collect();
        let own = keys.settings();
        let settings: Vec<&str> = own.iter().map(String::as_str).chain(settings.iter().copied()).collect();
        let gateway = Gateway::start(&redis, &settings);
        let client = |text: &String| gateway.anonymous().with("Authorization", &format!("Bearer {text}"));
        Self { clients: texts.iter().map(client).collect(), _gateway: gateway, redis, _keys: keys }
    }

    /// How often the server has done each command, but for what the gateway does by itself.
    pub fn done(&self) -> Vec<String> {
        let own = [
            "hello",
            "client|",
            "ping",
            "config|",
            "info",
            "command",
            "role",
            "psubscribe",
            "subscribe",
            "reset",
            "flushall",
            "auth",
            "acl|",
        ];
        let stats = self.redis.line("INFO commandstats");
        let commands = stats.lines().filter_map(|line| line.strip_prefix("cmdstat_")?.split(':').next());
        commands.filter(|command| !own.iter().any(|own| command.starts_with(own))).map(str::to_owned).collect()
    }
}

/// A call as a raw command, its words in base64; none if it is no call.
pub fn raw(operation: &Operation, arguments: &Value) -> Option<Value> {
    let (text, mut command) = (arguments.to_string(), BytesMut::new());
    operation.encode_any(&Arguments::from_json(text.as_bytes()).ok()?, &RULES, &mut command).ok()?;
    let words = resp::words(&command).into_iter().enumerate().map(|(index, word)| match index {
        0 => String::from_utf8_lossy(word).into_owned(),
        _ => BASE64_STANDARD.encode(word),
    });
    Some(json!({ "command": words.collect::<Vec<_>>() }))
}
