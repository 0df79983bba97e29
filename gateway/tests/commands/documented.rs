//! What the server says of its commands (`COMMAND DOCS`, `COMMAND INFO`), and the same of the table, in one notation:
//! `name=TOKEN:kind?` with `?` for optional, `(a | b)` for a choice, `{a b}` for an object, `[a]` for a list, `#` before a
//! list whose length is sent, `…` behind a token that repeats.

use std::collections::{BTreeMap, BTreeSet};

use dbx_gateway::operation::param::{Count, Kind, Param, Role, Token};

use crate::server::{Reply, Server, Version, texts};
use crate::there;

/// A command as the server describes it.
pub struct Documented {
    pub group: String,
    pub since: String,
    pub arguments: Vec<Argument>,
    pub flags: BTreeSet<String>,
    pub categories: BTreeSet<String>,
    pub tips: Vec<String>,
}

/// An argument as the server describes it.
pub struct Argument {
    name: String,
    kind: String,
    token: Option<String>,
    flags: Vec<String>,
    inner: Vec<Argument>,
}

/// All commands by name, sub-commands as `object|encoding`; a command that only contains others is none.
pub fn all(server: &mut Server) -> BTreeMap<String, Documented> {
    let docs = server.command(&["COMMAND", "DOCS"]);
    let info = server.command(&["COMMAND"]);
    let mut infos = BTreeMap::new();
    infos_of(info.array(), &mut infos);
    let mut all = BTreeMap::new();
    docs_of(&docs, &infos, &mut all);
    all
}

fn infos_of(commands: &[Reply], all: &mut BTreeMap<String, Vec<Reply>>) {
    for command in commands {
        let fields = command.array();
        all.insert(fields[0].text().to_lowercase(), fields.to_vec());
        infos_of(fields[9].array(), all);
    }
}

fn docs_of(docs: &Reply, infos: &BTreeMap<String, Vec<Reply>>, all: &mut BTreeMap<String, Documented>) {
    for (name, doc) in map(docs) {
        let (name, doc) = (name.to_lowercase(), map(&doc));
        if let Some(inner) = doc.get("subcommands") {
            docs_of(inner, infos, all);
            continue;
        }
        let info = &infos[&name];
        // Modules do not say everything.
        let text = |field: &str| doc.get(field).map(|text| text.text().to_owned()).unwrap_or_default();
        let documented = Documented {
            group: text("group"),
            since: text("since"),
            arguments: doc.get("arguments").map(arguments).unwrap_or_default(),
            flags: texts(&info[2]).into_iter().collect(),
            categories: texts(&info[6]).into_iter().collect(),
            tips: texts(&info[7]),
        };
        all.insert(name, documented);
    }
}

fn map(reply: &Reply) -> BTreeMap<String, Reply> {
    reply.array().chunks(2).map(|pair| (pair[0].text().to_owned(), pair[1].clone())).collect()
}

fn arguments(reply: &Reply) -> Vec<Argument> {
    let argument = |reply: &Reply| {
        let fields = map(reply);
        Argument {
            name: fields["name"].text().replace('-', "_"),
            kind: fields["type"].text().to_owned(),
            token: fields.get("token").map(|token| token.text().to_owned()),
            flags: fields.get("flags").map(texts).unwrap_or_default(),
            inner: fields.get("arguments").map(arguments).unwrap_or_default(),
        }
    };
    reply.array().iter().map(argument).collect()
}

/// What the server does with a key, as a role.
pub fn role(flags: &[String]) -> Role {
    let has = |flag: &str| flags.iter().any(|known| known == flag);
    // As the server's own access lists have it: what only caches something in the value does not write it.
    let write = has("insert") || has("update") || has("delete");
    Role { read: has("access"), write, delete: has("delete") }
}

/// The server's arguments, named by the rules or by `rename`.
pub fn theirs(arguments: &[Argument], rename: &mut impl FnMut(&str) -> Option<&'static str>) -> Vec<String> {
    let mut out = Vec::new();
    let mut counted = false;
    for (at, argument) in arguments.iter().enumerate() {
        let repeats = arguments.get(at + 1).is_some_and(|next| next.has("multiple"));
        if argument.name.starts_with("num") && argument.kind == "integer" && argument.token.is_none() && repeats {
            counted = true;
            continue;
        }
        out.push(argument.describe(std::mem::take(&mut counted), rename));
    }
    out
}

impl Argument {
    fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|known| known == flag)
    }

    fn describe(&self, counted: bool, rename: &mut impl FnMut(&str) -> Option<&'static str>) -> String {
        let many = self.has("multiple");
        let optional = if self.has("optional") { "?" } else { "" };
        let pure = self.inner.iter().all(|inner| inner.kind == "pure-token");
        if self.kind == "oneof" && !(pure && (self.token.is_some() || !self.has("optional"))) {
            return format!("({}){optional}", theirs(&self.inner, rename).join(" | "));
        }
        // A block takes its token from its first leaf where it has none itself.
        let (token, inner) = match (&self.token, self.kind.as_str(), self.inner.first()) {
            (None, "block", Some(first)) if first.kind == "pure-token" => (first.token.clone(), &self.inner[1..]),
            (token, ..) => (token.clone(), &self.inner[..]),
        };
        let mut name = token.as_ref().map_or_else(|| self.name.clone(), |token| token.to_lowercase().replace('-', "_"));
        if many && !name.ends_with('s') {
            name.push('s');
        }
        let name = rename(&name).map_or(name, str::to_owned);
        // A block of a number of elements and the elements is a list.
        if let ("block", [number, list], Some(token)) = (self.kind.as_str(), inner, &token)
            && number.name.starts_with("num")
            && list.has("multiple")
        {
            let list = list.describe(true, rename);
            return format!("{name}={token}:{}{optional}", list.split_once(':').map_or("", |(_, kind)| kind));
        }
        let kind = match self.kind.as_str() {
            "pure-token" => "flag".to_owned(),
            "oneof" => format!("<{}>", inner.iter().filter_map(|inner| inner.token.clone()).collect::<Vec<_>>().join("|")),
            "block" => match inner {
                [one, two] if many && one.token.is_none() && two.token.is_none() => format!("{} {}", kind_of(one), kind_of(two)),
                _ => format!("{{{}}}", theirs(inner, rename).join(" ")),
            },
            _ => kind_of(self).to_owned(),
        };
        let token = token.map(|token| format!("={token}{}", if self.has("multiple_token") { "…" } else { "" })).unwrap_or_default();
        let kind = if many { format!("{}[{kind}]", if counted { "#" } else { "" }) } else { kind };
        format!("{name}{token}:{kind}{optional}")
    }
}

fn kind_of(argument: &Argument) -> &str {
    match argument.kind.as_str() {
        "unix-time" => "integer",
        "string" | "pattern" => "bytes",
        other => other,
    }
}

/// A parameter of the table; `None` if it is none of the server's.
pub fn ours(param: &Param, version: Version) -> Option<String> {
    if !there(param, version) || matches!(param.kind, Kind::Modifier | Kind::Fixed(_)) {
        return None;
    }
    let optional = if param.required || param.default.is_some() { "" } else { "?" };
    let inner = |params: &[Param], between: &str| params.iter().filter_map(|param| ours(param, version)).collect::<Vec<_>>().join(between);
    let sent = |sent: bool| if sent { "#" } else { "" };
    let kind = match param.kind {
        // Nothing may be left of a choice that is newer than the server, or one.
        Kind::OneOf(params) if params.iter().filter(|param| there(param, version)).count() < 2 => {
            return params.iter().find_map(|param| ours(param, version));
        }
        Kind::OneOf(params) => {
            let choices: Vec<_> = params.iter().filter_map(|param| ours(param, version)).collect();
            let choices: Vec<_> = choices.iter().map(|choice| choice.trim_end_matches('?')).collect();
            return Some(format!("({}){optional}", choices.join(" | ")));
        }
        Kind::Flag => "flag".to_owned(),
        Kind::Choice(words) => format!("<{}>", words.iter().map(|word| word.token).collect::<Vec<_>>().join("|")),
        Kind::List(of, count) => format!("{}[{}]", sent(count == Count::Sent), scalar(of)),
        Kind::Pairs(one, two, layout) => format!("{}[{} {}]", sent(layout.count() == Count::Sent), scalar(one), scalar(two)),
        Kind::Object(params) => format!("{{{}}}", inner(params, " ")),
        Kind::Objects(params, count) => format!("{}[{{{}}}]", sent(count == Count::Sent), inner(params, " ")),
        _ => scalar(&param.kind).to_owned(),
    };
    let token = match param.token {
        Token::None => String::new(),
        Token::Once(token) | Token::Modified { token, .. } => format!("={token}"),
        Token::Each(token) => format!("={token}…"),
    };
    Some(format!("{}{token}:{kind}{optional}", param.name))
}

fn scalar(kind: &Kind) -> &'static str {
    match kind {
        Kind::Key(_) => "key",
        Kind::Bytes | Kind::Channel | Kind::Glob | Kind::Elsewhere | Kind::Text | Kind::Json | Kind::Base64 => "bytes",
        Kind::Integer | Kind::OtherDatabase | Kind::Cursor => "integer",
        Kind::Double => "double",
        _ => panic!("{kind:?} is not one value"),
    }
}
