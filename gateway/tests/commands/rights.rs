//! Rights against the server's own knowledge of keys: every key that it finds in a command is judged and gets the prefix, and what
//! a caller may see or change is what the server says that the command does.

use bytes::BytesMut;
use dbx_crds::config::{Database, GatewayConfig};
use dbx_gateway::{
    auth::Rights,
    operation::{
        Id,
        arguments::Arguments,
        encode::{Marks, Plan},
        find, resolve,
    },
    resp,
};
use serde_json::Value;

use crate::{RULES, calls, servers};

/// What every key gets; of a form that no word of a command has by chance.
const PREFIX: &str = "owner/";

fn rights(grant: &str) -> Rights {
    let yaml = format!("databases: [{{ name: redis, redis: {{ url: 'redis://a' }} }}]\nauth: {{ grants: [{{ to: ['*'], {grant} }}] }}");
    let config: GatewayConfig = serde_yaml::from_str(&yaml).unwrap();
    let database: &Database = &config.databases[0];
    Rights::compile(database, &config.auth.grants.iter().collect::<Vec<_>>()).unwrap()
}

/// A call by name: its command, and what the caller's rights make of it.
fn by_name(rights: &Rights, id: Id, arguments: &Value) -> Option<BytesMut> {
    let (text, mut out, mut marks) = (arguments.to_string(), BytesMut::new(), Marks::new());
    let arguments = Arguments::from_json(text.as_bytes()).unwrap();
    let plan: Plan = id.operation().encode_marked(&arguments, &RULES, &mut out, Some(&mut marks)).unwrap();
    rights.admit(id, &plan, &marks, &mut out, 0).ok().map(|()| out)
}

/// The same words as a raw command.
fn raw(rights: &Rights, command: &[u8]) -> Option<BytesMut> {
    let mut out = BytesMut::from(command);
    let id = resolve::resolve(&resp::words(command));
    rights.admit_raw(id, &mut out).ok().map(|()| out)
}

#[test]
fn every_key_that_the_server_finds_is_judged() {
    let (all, prefixed) = (Rights::all(), rights(&format!("access: [all], prefix: '{PREFIX}'")));
    let (outside, inside) = (rights("access: [all], keys: ['elsewhere:*']"), rights("access: [all], keys: ['k:*'], channels: ['*']"));
    let (reads, writes) = (rights("access: [read, admin, -@write]"), rights("access: [write, admin, -@read]"));
    let (only_read, only_write) = (rights("access: [read]"), rights("access: [write]"));
    let (mut calls, mut in_raw) = (0, 0);
    for (mut server, both) in servers() {
        for (operation, _) in both {
            let id = find(operation.name).unwrap();
            for arguments in calls::all(operation.params, server.version()) {
                let command = by_name(&all, id, &arguments).unwrap();
                let found = server.keys_and_flags(&command);
                if found.is_empty() {
                    continue;
                }
                let call = format!("{} {arguments}", operation.name);
                calls += 1;
                for (way, rewritten) in [("by name", by_name(&prefixed, id, &arguments)), ("raw", raw(&prefixed, &command))] {
                    let Some(rewritten) = rewritten else { continue };
                    in_raw += usize::from(way == "raw");
                    let keys = server.keys_and_flags(&rewritten);
                    assert_eq!(keys.len(), found.len(), "{way} {call}");
                    assert!(keys.iter().all(|(key, _)| key.starts_with(PREFIX)), "{way} {call}: {keys:?}");
                }
                assert!(by_name(&outside, id, &arguments).is_none() && raw(&outside, &command).is_none(), "{call}");
                // What is understood in its raw words is allowed as it is by name, but for what its options may show.
                assert!(by_name(&inside, id, &arguments).is_some() || raw(&inside, &command).is_none(), "{call}");
                let sees = found.iter().any(|(_, flags)| flags.iter().any(|flag| flag == "access"));
                let changes =
                    found.iter().any(|(_, flags)| flags.iter().any(|flag| ["update", "insert", "delete"].contains(&flag.as_str())));
                for (name, rights, refused) in [
                    ("read", &only_read, changes),
                    ("read and admin", &reads, changes),
                    ("write", &only_write, sees),
                    ("write and admin", &writes, sees),
                ] {
                    // An administrator's operation does with its keys what it does.
                    let refused = refused && (operation.access.class != dbx_gateway::operation::Class::Admin || !name.ends_with("admin"));
                    assert!(!refused || by_name(rights, id, &arguments).is_none(), "{name}: {call}");
                    assert!(!refused || raw(rights, &command).is_none(), "{name}: raw {call}");
                }
            }
        }
    }
    println!("{calls} calls with keys, of which {in_raw} are understood as raw commands of who has a prefix");
    assert!(in_raw > calls / 3);
}
