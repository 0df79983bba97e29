//! The operation table against a live server: what the server says of its commands, and what it answers to the examples.
//! Where the two differ on purpose, `differences` says why.

#![expect(unreachable_pub, reason = "the modules of a test are its own")]
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail, and figures are for the reader")]

mod calls;
mod differences;
mod documented;
mod examples;
mod family;
mod refused;
mod rights;
mod server;

use std::collections::{BTreeMap, BTreeSet};

use bytes::BytesMut;
use dbx_gateway::operation::arguments::Arguments;
use dbx_gateway::operation::encode::{Encoding, Rules};
use dbx_gateway::operation::param::{Effect, Param, Role};
use dbx_gateway::operation::{self, Class, Group, Mode, Operation, Split, Together};
use dbx_gateway::resp::{Item, Reader};
use serde_json::Value;

use differences::{ABSENT, CLASHES, CLASSES, DEFAULTS, PARTS, Part, RENAMES, ROLES, Rename, SINCES, SPLITS, STRUCTURES, Structure};
use documented::Documented;
use family::Kind;
use server::{Reply, Server, Version};

const RULES: Rules = Rules { encoding: Encoding::Utf8, max_key_bytes: 1024, max_value_bytes: 1024 };

fn words(operation: &Operation) -> String {
    operation.command.words.join("|").to_lowercase()
}

/// The operations that are a command of the server.
fn commands() -> impl Iterator<Item = &'static Operation> {
    operation::all().iter().copied().filter(|operation| operation.group != Group::Recipes)
}

/// The operations that the server has, and what it says of each.
fn both(server: &mut Server) -> Vec<(&'static Operation, Documented)> {
    let mut documented = documented::all(server);
    let version = server.version();
    let mut both = Vec::new();
    for operation in commands() {
        // Documents are a module's, which a server may be without.
        let expected = version.has(operation.since) && operation.group != Group::Json;
        match documented.remove(&words(operation)) {
            Some(found) => both.push((operation, found)),
            None => assert!(!expected, "the server has no {}", operation.name),
        }
    }
    both
}

/// Redis with all that it has, and Valkey with what Redis lacks.
fn servers() -> Vec<(Server, Vec<(&'static Operation, Documented)>)> {
    let (mut redis, mut valkey) = (Server::start(), Server::of(Kind::Valkey));
    let all = both(&mut redis);
    let known: BTreeSet<&str> = all.iter().map(|(operation, _)| operation.name).collect();
    let later = both(&mut valkey).into_iter().filter(|(operation, _)| !known.contains(operation.name)).collect();
    vec![(redis, all), (valkey, later)]
}

/// The keys of a call, as they are found in its words.
fn positions(call: &[u8]) -> BTreeSet<String> {
    let mut reader = Reader::new(call);
    let words: Vec<&[u8]> =
        std::iter::from_fn(|| reader.read().ok()).filter_map(|item| if let Item::Bulk(word) = item { word } else { None }).collect();
    operation::position::keys(operation::resolve::resolve(&words), &words)
        .iter()
        .map(|key| String::from_utf8_lossy(key).into_owned())
        .collect()
}

/// The words of a call.
fn encode(operation: &Operation, arguments: &Value) -> Vec<u8> {
    let arguments = arguments.to_string();
    let mut out = BytesMut::new();
    operation
        .encode_any(&Arguments::from_json(arguments.as_bytes()).unwrap(), &RULES, &mut out)
        .unwrap_or_else(|error| panic!("{} {arguments}: {error:?}", operation.name));
    out.to_vec()
}

/// Of Redis, of Valkey, and of Redis with its modules.
#[test]
fn every_command_is_an_operation_or_has_a_reason_not_to_be() {
    let known: BTreeSet<String> = commands().map(words).collect();
    let mut unused: BTreeSet<&str> = ABSENT.iter().map(|(command, _)| *command).collect();
    assert!(unused.len() < 40, "a list of reasons that nobody reads");
    let mut walked = BTreeSet::new();
    for kind in [Kind::Redis, Kind::Valkey, Kind::Stack] {
        for name in documented::all(&mut Server::of(kind)).into_keys() {
            // `ft.*` stands for a whole module.
            let is = |command: &str| command == name || command.strip_suffix('*').is_some_and(|module| name.starts_with(module));
            match ABSENT.iter().find(|(command, _)| is(command)) {
                Some((command, _)) => {
                    assert!(!known.contains(&name), "{name} is an operation, and a reason says why not");
                    unused.remove(command);
                }
                None => assert!(known.contains(&name), "{name} of {kind:?} is no operation, and no reason says why"),
            }
            walked.insert(name);
        }
    }
    assert!(unused.is_empty(), "these need no reason: {unused:?}");
    println!("{} commands of three servers, {} operations, {} reasons", walked.len(), known.len(), ABSENT.len());
}

/// Of Redis, of Valkey, and of Redis with its modules: each says it in its own way.
#[test]
fn arguments_are_those_of_the_server() {
    let mut renames: Vec<&Rename> = RENAMES.iter().collect();
    let mut parts: Vec<&Part> = PARTS.iter().collect();
    let mut structures: Vec<&Structure> = STRUCTURES.iter().collect();
    let mut compared = 0;
    for kind in [Kind::Redis, Kind::Valkey, Kind::Stack] {
        let mut server = Server::of(kind);
        let version = server.version();
        for (operation, documented) in both(&mut server) {
            // A module may document nothing of its commands.
            if operation.group == Group::Json && documented.arguments.is_empty() {
                continue;
            }
            let name = operation.name;
            let ours: Vec<String> = operation.params.iter().filter_map(|param| documented::ours(param, version)).collect();
            let ours = ours.join(" ");
            let theirs = documented::theirs(&documented.arguments, &mut |derived| {
                let rename = RENAMES.iter().find(|rename| rename.operation == name && rename.derived == derived)?;
                renames.retain(|other| !std::ptr::eq(*other, rename));
                Some(rename.ours)
            });
            let mut theirs = theirs.join(" ");
            for part in PARTS.iter().filter(|part| part.operations.contains(&name)) {
                if theirs.contains(part.theirs) {
                    theirs = theirs.replacen(part.theirs, part.ours, 1);
                    parts.retain(|other| !std::ptr::eq(*other, part));
                }
            }
            let differs = |known: &&Structure| known.operation == name && known.theirs == theirs && known.ours == ours;
            if let Some(structure) = STRUCTURES.iter().find(differs) {
                structures.retain(|other| !std::ptr::eq(*other, structure));
            } else {
                assert_eq!(ours, theirs, "{name} of {kind:?}");
            }
            // Valkey tells in which version of Redis a command that it began with appeared.
            let since =
                [operation.since.redis, operation.since.valkey, SINCES.iter().find(|(of, ..)| *of == name).map(|(_, since, _)| *since)];
            assert!(since.contains(&Some(documented.since.as_str())), "{name} is of {} in {kind:?}", documented.since);
            compared += 1;
        }
    }
    assert!(renames.is_empty(), "these are not needed: {renames:?}");
    assert!(parts.is_empty(), "these are not needed: {parts:?}");
    assert!(structures.is_empty(), "these do not differ: {structures:?}");
    println!("the arguments of {compared} commands of three servers");
}

/// What the server requires and the table does not.
#[test]
fn defaults_have_reasons() {
    let defaults = |operation: &'static Operation| {
        operation.params.iter().filter(|param| param.default.is_some()).map(|param| (operation.name, param.name))
    };
    let found: BTreeSet<_> = commands().flat_map(defaults).collect();
    assert_eq!(found, DEFAULTS.iter().map(|(operation, param, _)| (*operation, *param)).collect());
}

#[test]
fn access_is_what_the_server_says() {
    let mut classes: BTreeMap<&str, Class> = CLASSES.iter().map(|(name, class, _)| (*name, *class)).collect();
    for (operation, documented) in servers().into_iter().flat_map(|(_, both)| both) {
        let name = operation.name;
        let ours: BTreeSet<String> = operation.access.categories.iter().map(|category| format!("@{}", category.name())).collect();
        assert_eq!(ours, documented.categories, "{name}");
        let has = |flag: &str| documented.flags.contains(flag);
        let is = |category: &str| documented.categories.contains(category);
        let class = match () {
            () if is("@admin") || is("@dangerous") => Class::Admin,
            () if has("write") => Class::Write,
            () if has("readonly") => Class::Read,
            () if is("@pubsub") => Class::Subscribe,
            () if is("@scripting") => Class::Write,
            () => Class::Open,
        };
        let expected = classes.remove(name).inspect(|other| assert_ne!(*other, class, "{name} needs no reason")).unwrap_or(class);
        assert_eq!(operation.access.class, expected, "{name}");
        assert_eq!(operation.changes(), has("write") || expected == Class::Write, "{name}");
        let waits = |param: &Param| param.effects.iter().any(|effect| matches!(effect, Effect::Blocks(_)));
        assert!(!has("blocking") || operation.mode != Mode::Call || operation.params.iter().any(waits), "{name} blocks");
    }
    assert!(classes.is_empty(), "the server has none of these: {classes:?}");
}

#[test]
fn clusters_are_served_as_the_server_advises() {
    let mut splits: BTreeSet<&str> = SPLITS.iter().map(|(name, _)| *name).collect();
    for (operation, documented) in servers().into_iter().flat_map(|(_, both)| both) {
        let tip = |tip: &str| documented.tips.iter().find_map(|known| known.strip_prefix(tip));
        let split = match (tip("request_policy:"), tip("response_policy:")) {
            (None, _) => Split::Never,
            (Some("multi_shard"), None) => Split::Ordered,
            (Some("multi_shard"), Some("agg_sum")) => Split::Sum,
            (Some("multi_shard"), Some("all_succeeded")) => Split::AllSucceed,
            // How the answers are put together is ours to say.
            _ => match operation.split {
                Split::Nodes(together) => Split::Nodes(together),
                _ => Split::Nodes(Together::Apart),
            },
        };
        if operation.split != split {
            assert!(splits.remove(operation.name), "{} {split:?}", operation.name);
        }
    }
    assert!(splits.is_empty(), "these do not differ: {splits:?}");
}

#[test]
fn keys_are_where_the_server_finds_them() {
    let mut more: BTreeSet<&str> = ROLES.iter().map(|(operation, _)| *operation).collect();
    for (mut server, both) in servers() {
        for (operation, _) in both {
            for arguments in calls::all(operation.params, server.version()) {
                let call = encode(operation, &arguments);
                let plan = operation
                    .encode_any(&Arguments::from_json(arguments.to_string().as_bytes()).unwrap(), &RULES, &mut BytesMut::new())
                    .unwrap();
                let mut ours: BTreeMap<String, Role> = BTreeMap::new();
                calls::keys(operation.params, &arguments, &mut ours);
                for role in ours.values_mut() {
                    role.read |= plan.reads && role.write;
                }
                let theirs = server.keys_and_flags(&call);
                assert_eq!(
                    positions(&call),
                    theirs.iter().map(|(key, _)| key.clone()).collect::<BTreeSet<_>>(),
                    "{} {arguments}",
                    operation.name
                );
                let found: BTreeMap<String, Role> = theirs.iter().map(|(key, flags)| (key.clone(), documented::role(flags))).collect();
                let least = |role: &Role, of: &Role| role.read >= of.read && role.write >= of.write && role.delete >= of.delete;
                if ours != found && ours.iter().zip(&found).all(|((key, role), (other, of))| key == other && least(role, of)) {
                    let known = ROLES.iter().any(|(name, _)| *name == operation.name);
                    assert!(known, "{} {arguments}: {ours:?} is more than {theirs:?}", operation.name);
                    more.remove(operation.name);
                } else {
                    assert_eq!(ours, found, "{} {arguments}: {theirs:?}", operation.name);
                }
            }
        }
    }
    assert!(more.is_empty(), "these have the roles that the server says: {more:?}");
}

/// Every combination that the table allows is a command that the server can read.
#[test]
fn no_call_is_a_mistake_of_syntax() {
    let mut server = Server::start();
    let mut clashes: Vec<_> = CLASHES.iter().collect();
    for (operation, _) in both(&mut server) {
        if operation.mode != Mode::Call {
            continue;
        }
        for arguments in calls::all(operation.params, server.version()) {
            // A key of another type may be told before a mistake.
            server.clear();
            if let Reply::Error(line) = server.send(&encode(operation, &arguments)) {
                let syntax = ["syntax", "wrong number of arguments", "unknown command", "Unknown argument", "not compatible", "exclusive"];
                if CLASHES.iter().any(|(name, words, _)| *name == operation.name && line.contains(words)) {
                    clashes.retain(|(name, words, _)| *name != operation.name || !line.contains(words));
                    continue;
                }
                assert!(!syntax.iter().any(|word| line.contains(word)), "{} {arguments}: {line}", operation.name);
            }
        }
    }
    assert!(clashes.is_empty(), "the server takes these: {clashes:?}");
}

#[test]
fn groups_are_those_of_the_server() {
    let mut server = Server::start();
    for (operation, documented) in both(&mut server) {
        let group = match operation.group {
            Group::Strings => "string",
            Group::Keys => "generic",
            Group::Hashes => "hash",
            Group::Lists => "list",
            Group::Sets => "set",
            Group::SortedSets => "sorted-set",
            Group::Geo => "geo",
            Group::HyperLogLog => "hyperloglog",
            Group::Bitmaps => "bitmap",
            Group::Streams => "stream",
            Group::Pubsub => "pubsub",
            Group::Scripting => "scripting",
            Group::Recipes => panic!("{} is no command of the server", operation.name),
            Group::Transactions => "transactions",
            Group::Json => "module",
            Group::Connection => "connection",
            Group::Server => "server",
            Group::Cluster => "cluster",
        };
        // The one command of the server's own group that is about a single key.
        if operation.name != "memory_usage" {
            assert_eq!(documented.group, group, "{}", operation.name);
        }
    }
}

/// Whether a parameter is one of a server of that version.
fn there(param: &Param, version: Version) -> bool {
    param.since.is_none_or(|since| version.has(since))
}
