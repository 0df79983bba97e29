//! `dbx-gateway explain`: whether a caller may make a call, which grants say so, and what is sent to the database. It asks nobody: it
//! reads the configuration and its files of keys, and judges as the gateway does.

use std::{fmt::Write, path::Path, time::SystemTime};

use bytes::{Bytes, BytesMut};
use clap::Args;
use dbx_crds::{
    api_key::file::{IDENTITY_PREFIX, KeyFile, State},
    config::{AuthMode, Database, Effect, GatewayConfig, Grant},
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Settings;
use crate::{
    auth::{ANONYMOUS, Rights, names},
    config::{self, secret},
    error::Error,
    operation::{
        self,
        arguments::Arguments,
        encode::{Encoding, Marks, Rules},
        resolve::resolve,
    },
    resp,
};

/// Who calls what.
#[derive(Args, Debug)]
pub struct Explain {
    /// The configuration that is meant.
    #[command(flatten)]
    settings: Settings,
    /// Who calls, as grants name it: `key:web`, `jwt:alice`, `serviceaccount:shop/cart`, `anonymous`.
    #[arg(long = "as", value_name = "IDENTITY")]
    caller: String,
    /// A group that the caller is in, such as `group:ops`; repeatable.
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// Which key is meant, where several share the name and not what they were granted.
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// The call, as over a WebSocket: `{"op":"hget","args":{"key":"a","field":"b"},"database":"redis"}`. `raw` is an operation here.
    #[arg(long, value_name = "JSON")]
    call: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call<'a> {
    op: String,
    #[serde(borrow, default)]
    args: Option<&'a RawValue>,
    #[serde(default)]
    database: Option<String>,
    #[serde(default)]
    encoding: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    command: Vec<String>,
}

/// A grant and where it stands.
#[derive(Clone)]
struct Placed {
    path: String,
    grant: Grant,
}

impl Explain {
    /// Prints the answer; whether the call is allowed.
    ///
    /// Errors: what is wrong with the configuration, the caller or the call.
    pub fn run(self) -> Result<bool, String> {
        let here = std::env::current_dir().unwrap_or_default();
        let config = config::load(&self.settings, config::process_environment(), &here)
            .map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
        let (is_allowed, text) = self.explain(&config, &secret::directory())?;
        super::print(&text)?;
        Ok(is_allowed)
    }

    fn explain(&self, config: &GatewayConfig, secrets_dir: &Path) -> Result<(bool, String), String> {
        let call: Call<'_> = serde_json::from_str(&self.call)
            .map_err(|error| format!("--call: expected {{\"op\": …, \"args\"?: {{…}}, \"database\"?: …, \"encoding\"?: …}}: {error}"))?;
        let database = database(config, call.database.as_deref())?;
        let (own, note) = self.own(config, secrets_dir)?;
        let mut grants: Vec<Placed> = Vec::new();
        for (index, grant) in config.auth.grants.iter().enumerate().filter(|(_, grant)| names(&grant.to, &self.caller, &self.groups)) {
            grants.push(Placed { path: format!("auth.grants[{index}]"), grant: grant.clone() });
        }
        grants.extend(own);
        let is_closed = config.auth.mode == Some(AuthMode::Required);
        let is_open = grants.is_empty() && config.auth.grants.is_empty() && !is_closed;
        grants.retain(|placed| placed.grant.databases.is_empty() || placed.grant.databases.contains(&database.name));
        let mut text = note;
        if self.caller == ANONYMOUS && is_closed {
            text += "refused: who shows no credential is turned away (auth.mode: required)\n";
            return Ok((false, text));
        }
        let judge = |grants: &[Placed]| -> Result<Result<BytesMut, Error>, String> {
            let rights = match is_open {
                true => Rights::all(),
                false => Rights::compile(database, &grants.iter().map(|placed| &placed.grant).collect::<Vec<_>>())?,
            };
            call.judge(&rights, config)
        };
        let paths = |grants: &[Placed]| grants.iter().map(|placed| placed.path.as_str()).collect::<Vec<_>>().join(", ");
        match judge(&grants)? {
            Ok(command) => {
                text += "allowed\n";
                if is_open {
                    text += "by: nothing, as there are no grants\n";
                } else {
                    let _ = writeln!(text, "by: {}", paths(&needed(&grants, |grants| Ok(judge(grants)?.is_ok()))?));
                }
                let _ = writeln!(text, "sent to `{}`: {}", database.name, line(&command));
                if let Some(user) = grants.iter().find_map(|placed| placed.grant.backend_user.as_deref()) {
                    let _ = writeln!(text, "as the database's user: {user}");
                }
                Ok((true, text))
            }
            Err(error) => {
                let _ = writeln!(text, "refused: {}", error.detail);
                let (denies, allows): (Vec<_>, Vec<_>) = grants.iter().cloned().partition(|placed| placed.grant.effect == Effect::Deny);
                let mut by = Vec::new();
                if judge(&allows)?.is_ok() {
                    for deny in denies {
                        let mut with = allows.clone();
                        with.push(deny.clone());
                        if judge(&with)?.is_err() {
                            by.push(deny);
                        }
                    }
                }
                let _ = match (by.is_empty(), grants.is_empty()) {
                    (false, _) => writeln!(text, "by: {}", paths(&by)),
                    (true, false) => writeln!(text, "not allowed by any of: {}", paths(&grants)),
                    (true, true) => writeln!(text, "no grant is about `{}` at `{}`", self.caller, database.name),
                };
                Ok((false, text))
            }
        }
    }

    /// The grants that stand beside the key, and what else there is to say of it.
    fn own(&self, config: &GatewayConfig, secrets_dir: &Path) -> Result<(Vec<Placed>, String), String> {
        let Some(name) = self.caller.strip_prefix(IDENTITY_PREFIX).filter(|_| !config.auth.keys_from.is_empty()) else {
            return Ok((Vec::new(), String::new()));
        };
        let mut found = Vec::new();
        for (index, source) in config.auth.keys_from.iter().enumerate() {
            let setting = format!("auth.keysFrom[{index}]");
            let text = secret::whole(source.clone(), secrets_dir)().map_err(|message| format!("{setting}: {message}"))?;
            let file = KeyFile::read(&text).map_err(|mistakes| {
                let told: Vec<_> = mistakes.iter().map(|mistake| format!("{setting}: {}: {}", mistake.path, mistake.message)).collect();
                told.join("\n")
            })?;
            let fits = |id: &str| self.id.as_ref().is_none_or(|wanted| wanted == id);
            found.extend(file.keys.into_iter().filter(|key| key.name == name && fits(&key.id)).map(|key| (setting.clone(), key)));
        }
        let Some((_, first)) = found.first() else { return Err(format!("--as: no file of keys has the key `{name}`")) };
        if found.iter().any(|(_, key)| key.grants != first.grants) {
            let ids: Vec<&str> = found.iter().map(|(_, key)| key.id.as_str()).collect();
            return Err(format!("--as: several keys are called `{name}`; say which by --id: {}", ids.join(", ")));
        }
        let (setting, key) = &found[0];
        let placed =
            |(index, grant): (usize, &Grant)| Placed { path: format!("{setting} key {} grants[{index}]", key.id), grant: grant.clone() };
        let now = SystemTime::now();
        let note = match found.iter().any(|(_, key)| key.state(now) == State::Valid) {
            true => String::new(),
            false => format!("note: the key is {}, and its calls are answered with 401\n", key.state(now).name()),
        };
        Ok((key.grants.iter().enumerate().map(placed).collect(), note))
    }
}

impl Call<'_> {
    /// The command as it is sent, or why it is not.
    fn judge(&self, rights: &Rights, config: &GatewayConfig) -> Result<Result<BytesMut, Error>, String> {
        let document = self.args.map_or("{}", RawValue::get);
        let mut command = BytesMut::new();
        if self.op == "raw" {
            let Raw { command: words } = serde_json::from_str(document).map_err(|error| format!("--call: args: {error}"))?;
            let words: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
            resp::write_command(&mut command, &words);
            return Ok(rights.admit_raw(resolve(&words), &mut command).map(|()| command));
        }
        let id = operation::find(&self.op).ok_or_else(|| match self.op.as_str() {
            "follow" => "--call: `follow` is judged as `xread` of its key".to_owned(),
            "consume" => "--call: `consume` is judged as `xreadgroup` of its key".to_owned(),
            "observe" => "--call: `observe` is judged as `get` of each key that it tells of".to_owned(),
            "pipeline" | "transaction" => "--call: each call of it is judged by itself".to_owned(),
            other => format!("--call: there is no operation `{other}`; `dbx-gateway openapi` lists them"),
        })?;
        let encoding = match self.encoding.as_deref() {
            None | Some("utf8") => Encoding::Utf8,
            Some("base64") => Encoding::Base64,
            Some(_) => return Err("--call: encoding: expected `utf8` or `base64`".into()),
        };
        let limits = &config.limits;
        let rules = Rules { encoding, max_key_bytes: limits.max_key_bytes().bytes(), max_value_bytes: limits.max_value_bytes().bytes() };
        let wrong = |error: Error| match error.param {
            Some(param) => format!("--call: {param}: {}", error.detail),
            None => format!("--call: {}", error.detail),
        };
        let arguments = Arguments::from_json(document.as_bytes()).map_err(wrong)?;
        let mut marks = Marks::new();
        let plan = id.operation().encode_marked(&arguments, &rules, &mut command, Some(&mut marks)).map_err(wrong)?;
        if self.op == "psubscribe" {
            let patterns = resp::words(&command).into_iter().skip(1).map(|pattern| rights.pattern(id, Bytes::copy_from_slice(pattern)));
            return Ok(patterns.collect::<Result<Vec<_>, _>>().map(|patterns| {
                let words: Vec<&[u8]> = std::iter::once(&b"PSUBSCRIBE"[..]).chain(patterns.iter().map(|pattern| &pattern[..])).collect();
                let mut command = BytesMut::new();
                resp::write_command(&mut command, &words);
                command
            }));
        }
        Ok(rights.admit(id, &plan, &marks, &mut command, 0).map(|()| command))
    }
}

/// The database that is meant.
fn database<'c>(config: &'c GatewayConfig, name: Option<&str>) -> Result<&'c Database, String> {
    match (name, &config.databases[..]) {
        (Some(name), all) => {
            all.iter().find(|database| database.name == name).ok_or_else(|| format!("--call: database: there is no `{name}`"))
        }
        (None, [only]) => Ok(only),
        (None, _) => Err("--call: there are several databases; say which by \"database\"".into()),
    }
}

/// As few of the grants as a call needs, the first ones where there is a choice. What denies nothing has not decided.
fn needed(grants: &[Placed], is_allowed: impl Fn(&[Placed]) -> Result<bool, String>) -> Result<Vec<Placed>, String> {
    let mut needed: Vec<Placed> = grants.iter().filter(|placed| placed.grant.effect == Effect::Allow).cloned().collect();
    for at in (0..needed.len()).rev() {
        let mut fewer = needed.clone();
        fewer.remove(at);
        if is_allowed(&fewer)? {
            needed = fewer;
        }
    }
    Ok(needed)
}

/// A command as one line, words that are not plain in quotes.
fn line(command: &[u8]) -> String {
    let is_plain = |word: &[u8]| !word.is_empty() && word.iter().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'));
    let word = |word: &&[u8]| match is_plain(word) {
        true => String::from_utf8_lossy(word).into_owned(),
        false => format!("\"{}\"", word.escape_ascii()),
    };
    resp::words(command).iter().map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;
