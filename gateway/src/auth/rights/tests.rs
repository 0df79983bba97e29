use dbx_crds::config::GatewayConfig;

use super::*;
use crate::operation::{
    self,
    arguments::Arguments,
    encode::{Encoding, Rules},
    resolve::resolve,
};

const RULES: Rules = Rules { encoding: Encoding::Utf8, max_key_bytes: 1024, max_value_bytes: 1024 };

fn rights(grants: &str) -> Result<Rights, String> {
    let yaml = format!(
        "databases: [{{ name: redis, redis: {{ url: 'redis://a', users: [{{ name: u, passwordFrom: {{ env: P }} }}] }} }}]\nauth: {{ grants: {grants} }}"
    );
    let config: GatewayConfig = serde_yaml::from_str(&yaml).unwrap();
    Rights::compile(&config.databases[0], &config.auth.grants.iter().collect::<Vec<_>>())
}

fn call(rights: &Rights, name: &str, arguments: &str) -> Result<String, Error> {
    let (id, mut out, mut marks) = (operation::find(name).unwrap(), BytesMut::from("before"), Marks::new());
    let arguments = Arguments::from_json(arguments.as_bytes()).unwrap();
    let plan = id.operation().encode_marked(&arguments, &RULES, &mut out, Some(&mut marks)).unwrap();
    let before = out.clone();
    match rights.admit(id, &plan, &marks, &mut out, 6) {
        Ok(()) => Ok(resp::words(&out[6..]).iter().map(|word| String::from_utf8_lossy(word)).collect::<Vec<_>>().join(" ")),
        Err(error) => {
            assert_eq!(out, before);
            assert_eq!(error.code, Code::Forbidden);
            Err(error)
        }
    }
}

fn raw(rights: &Rights, line: &str) -> Result<String, Error> {
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    let mut command = BytesMut::new();
    resp::write_command(&mut command, &words);
    rights.admit_raw(resolve(&words), &mut command)?;
    Ok(resp::words(&command).iter().map(|word| String::from_utf8_lossy(word)).collect::<Vec<_>>().join(" "))
}

#[test]
fn keys_are_judged_by_their_roles() {
    let rights = rights("[{ to: ['*'], access: [read], keys: ['a:*'] }, { to: ['*'], access: [write], keys: ['b:*'] }]").unwrap();
    for (name, arguments, allowed) in [
        ("get", r#"{"key":"a:1"}"#, true),
        ("get", r#"{"key":"b:1"}"#, false),
        ("get", r#"{"key":"A:1"}"#, false),
        ("set", r#"{"key":"b:1","value":"1"}"#, true),
        ("set", r#"{"key":"a:1","value":"1"}"#, false),
        // It shows what was there.
        ("set", r#"{"key":"b:1","value":"1","get":true}"#, false),
        ("copy", r#"{"source":"a:1","destination":"b:1"}"#, true),
        ("copy", r#"{"source":"b:1","destination":"a:1"}"#, false),
        ("mget", r#"{"keys":["a:1","b:1"]}"#, false),
        ("exists", r#"{"keys":["a:1","b:1"]}"#, true),
        ("exists", r#"{"keys":["a:1","c:1"]}"#, false),
        ("sunionstore", r#"{"destination":"b:1","keys":["a:1","a:2"]}"#, true),
        ("sunionstore", r#"{"destination":"b:1","keys":["a:1","c:2"]}"#, false),
        ("sort", r#"{"key":"a:1","store":"b:1"}"#, true),
        ("sort", r#"{"key":"a:1","store":"c:1"}"#, false),
        ("sort", r##"{"key":"a:1","gets":["#"],"by":"nosort"}"##, true),
        ("sort", r#"{"key":"a:1","gets":["a:*"]}"#, false),
        ("sort", r#"{"key":"a:1","gets":["c:1"]}"#, false),
        ("sort", r#"{"key":"a:1","by":"c:*"}"#, false),
        ("copy", r#"{"source":"a:1","destination":"b:1","db":1}"#, false),
        ("keys", r#"{"pattern":"*"}"#, false),
        ("cluster_countkeysinslot", r#"{"slot":1}"#, false),
        ("scan", "{}", true),
        ("ping", "{}", true),
        ("randomkey", "{}", false),
        ("dbsize", "{}", false),
        ("flushdb", "{}", false),
        ("eval", r#"{"script":"return 1","keys":["a:1"]}"#, false),
        ("config_get", r#"{"parameters":["*"]}"#, false),
        ("publish", r#"{"channel":"a:1","message":"m"}"#, false),
        ("compare_and_delete", r#"{"key":"a:1","equals":"x"}"#, false),
    ] {
        let outcome = call(&rights, name, arguments);
        assert_eq!(outcome.is_ok(), allowed, "{name} {arguments}: {outcome:?}");
    }
}

#[test]
fn denials_win() {
    let rights = rights(
        "[{ to: ['*'], access: [all] }, { to: ['*'], effect: deny, access: [all], keys: ['secret:*'] }, { to: ['*'], effect: deny, access: [flushall] }, \
         { to: ['*'], effect: deny, access: [publish], channels: [ops] }]",
    )
    .unwrap();
    for (name, arguments, allowed) in [
        ("get", r#"{"key":"a"}"#, true),
        ("get", r#"{"key":"secret:1"}"#, false),
        ("mset", r#"{"values":{"a":"1","secret:1":"2"}}"#, false),
        ("flushall", "{}", false),
        ("eval", r#"{"script":"return 1"}"#, false),
        ("randomkey", "{}", false),
        ("publish", r#"{"channel":"a","message":"m"}"#, true),
        ("publish", r#"{"channel":"ops","message":"m"}"#, false),
    ] {
        assert_eq!(call(&rights, name, arguments).is_ok(), allowed, "{name} {arguments}");
    }
    assert_eq!(rights.told(operation::find("scan").unwrap(), b"secret:1"), None);
    assert_eq!(rights.told(operation::find("scan").unwrap(), b"a"), Some(&b"a"[..]));
}

#[test]
fn prefixes_go_in_and_come_out() {
    let rights = rights("[{ to: ['*'], access: [all], prefix: 't*:' }]").unwrap();
    for (name, arguments, sent) in [
        ("get", r#"{"key":"a"}"#, "GET t*:a"),
        ("mset", r#"{"values":{"a":"1","b":"2"}}"#, "MSET t*:a 1 t*:b 2"),
        ("zunionstore", r#"{"destination":"d","keys":["a","b"],"weights":[1,2]}"#, "ZUNIONSTORE t*:d 2 t*:a t*:b WEIGHTS 1 2"),
        ("xread", r#"{"streams":{"a":"0","b":"1"},"count":2}"#, "XREAD COUNT 2 STREAMS t*:a t*:b 0 1"),
        ("scan", "{}", "SCAN 0 MATCH t\\*:*"),
        ("scan", r#"{"match":"a*","count":5}"#, "SCAN 0 MATCH t\\*:a* COUNT 5"),
        ("keys", r#"{"pattern":"a?"}"#, "KEYS t\\*:a?"),
        ("publish", r#"{"channel":"c","message":"a"}"#, "PUBLISH t*:c a"),
        ("sort", r##"{"key":"a","gets":["#"],"store":"b"}"##, "SORT t*:a GET # STORE t*:b"),
        ("ping", "{}", "PING"),
    ] {
        assert_eq!(call(&rights, name, arguments).unwrap(), sent, "{name}");
    }
    for name in ["randomkey", "dbsize", "flushdb", "info"] {
        assert!(call(&rights, name, "{}").is_err(), "{name}");
    }
    assert_eq!(rights.told(operation::find("scan").unwrap(), b"t*:a"), Some(&b"a"[..]));
    assert_eq!(rights.told(operation::find("scan").unwrap(), b"tx:a"), None);
    assert_eq!(rights.heard_glob(b"t\\*:a*"), b"a*");
    let line = Bytes::from_static(b"-NOGROUP No such key 't*:a' or t*:a group\r\n");
    assert_eq!(rights.hide(None, &line), "-NOGROUP No such key 'a' or a group\r\n");
    // Whatever a server says.
    for odd in ["", " ", " t*:a", "t*:a"] {
        let _ = rights.hide_in(Error { redis: Some(odd.into()), ..Error::new(Code::RedisError, "") });
    }
}

#[test]
fn raw_commands_are_understood_or_refused() {
    let confined = rights("[{ to: ['*'], access: [read, write, admin], keys: ['a*'] }]").unwrap();
    for (line, allowed) in [
        ("GET a", true),
        ("get b", false),
        ("DEL a b", false),
        ("MSET a 1 b 2", false),
        ("MSET a 1 a2 2", true),
        ("BLPOP a a2 0", true),
        ("ZUNION 2 a b", false),
        ("ZUNION 1 a WITHSCORES", true),
        ("ZUNION 01 a", false),
        ("SORT a", false),
        ("SORT a STORE b", false),
        ("XREAD STREAMS b 0", false),
        ("EVAL return 0", false),
        ("CONFIG GET *", false),
        ("NONSENSE a", false),
        ("PING", true),
        ("SCAN 0", false),
    ] {
        assert_eq!(raw(&confined, line).is_ok(), allowed, "{line}");
    }
    let whole = rights("[{ to: ['*'], access: [read, write] }]").unwrap();
    for (line, allowed) in [("SORT a STORE b", true), ("XREAD STREAMS b 0", true), ("NONSENSE a", false), ("CONFIG GET *", false)] {
        assert_eq!(raw(&whole, line).is_ok(), allowed, "{line}");
    }
    assert!(raw(&rights("[{ to: ['*'], access: [all] }]").unwrap(), "NONSENSE a").is_ok());
    let prefixed = rights("[{ to: ['*'], access: [all], prefix: 'p:' }]").unwrap();
    assert_eq!(raw(&prefixed, "ZUNION 1 a WITHSCORES").unwrap(), "ZUNION 1 p:a WITHSCORES");
    assert!(raw(&prefixed, "SORT a").is_err());
}

#[test]
fn channels_are_granted_by_themselves() {
    let find = |name| operation::find(name).unwrap();
    let rights = rights("[{ to: ['*'], access: [subscribe], channels: ['news:*'] }]").unwrap();
    assert!(rights.channel(find("subscribe"), Bytes::from_static(b"news:1")).is_ok());
    assert!(rights.channel(find("subscribe"), Bytes::from_static(b"ops")).is_err());
    assert!(rights.pattern(find("psubscribe"), Bytes::from_static(b"news:*")).is_ok());
    assert!(rights.pattern(find("psubscribe"), Bytes::from_static(b"news:1*")).is_err());
    assert!(rights.observed(Bytes::from_static(b"*")).is_err());
}

#[test]
fn scripts_need_a_user_whom_the_server_confines() {
    let rights = rights("[{ to: ['*'], access: [read, write, +@scripting], keys: ['a*'], backendUser: u }]").unwrap();
    assert_eq!(rights.backend_user(), Some(0));
    assert!(call(&rights, "eval", r#"{"script":"return 1","keys":["a1"]}"#).is_ok());
    assert!(call(&rights, "eval", r#"{"script":"return 1","keys":["b1"]}"#).is_err());
}

#[test]
fn what_does_not_go_together_is_told() {
    assert!(rights("[{ to: ['*'], access: [read], prefix: a }, { to: ['*'], access: [read], prefix: b }]").is_err());
    assert!(rights("[{ to: ['*'], access: [read], prefix: a }, { to: ['*'], access: [read] }]").is_err());
    assert!(rights("[{ to: ['*'], access: [nonsense] }]").unwrap_err().contains("nonsense"));
    assert!(rights("[]").unwrap().is_none());
}

#[test]
fn what_names_no_key_needs_all_that_it_can_do() {
    for (access, name, arguments, allowed) in [
        ("[write]", "eval", r#"{"script":"return 1"}"#, false),
        ("[read, write]", "eval", r#"{"script":"return 1"}"#, true),
        ("[read]", "eval_ro", r#"{"script":"return 1"}"#, true),
        ("[read]", "eval", r#"{"script":"return 1"}"#, false),
        ("[write]", "script_load", r#"{"script":"return 1"}"#, true),
        ("[+@scripting]", "eval", r#"{"script":"return 1"}"#, true),
        ("[write]", "move", r#"{"key":"a","db":1}"#, false),
        ("[read, write]", "move", r#"{"key":"a","db":1}"#, true),
    ] {
        let rights = rights(&format!("[{{ to: ['*'], access: {access} }}]")).unwrap();
        assert_eq!(call(&rights, name, arguments).is_ok(), allowed, "{access} {name}");
    }
    // The words of these can be read in more than one way, so they need what the operation can do at most.
    let writes = rights("[{ to: ['*'], access: [write] }]").unwrap();
    for line in ["SORT a", "SORT a STORE b", "XREADGROUP GROUP g c STREAMS a >", "GEORADIUS a 1 1 1 m STORE b"] {
        assert!(raw(&writes, line).is_err(), "{line}");
    }
    let mixed = rights("[{ to: ['*'], access: [read], keys: ['a*'] }, { to: ['*'], access: [write] }]").unwrap();
    assert!(call(&mixed, "sort", r#"{"key":"a","gets":["secret:*"]}"#).is_err());
    assert!(raw(&mixed, "SORT a GET secret:*").is_err());
}

#[test]
fn names_are_told_to_whoever_named_them() {
    let frame = Bytes::from_static(b"*2\r\n$1\r\na\r\n*1\r\n$1\r\n1\r\n");
    let id = operation::find("lmpop");
    let named = rights("[{ to: ['*'], access: [lmpop], keys: ['a*'] }]").unwrap();
    assert_eq!(named.hide(id, &frame), frame);
    let lists = rights("[{ to: ['*'], access: [scan], keys: ['a*'] }, { to: ['*'], access: [publish] }]").unwrap();
    let scan = operation::find("scan").unwrap();
    assert_eq!((lists.told(scan, b"a1"), lists.told(scan, b"b1")), (Some(&b"a1"[..]), None));
}

#[test]
fn errors_keep_their_words() {
    for (prefix, line, hidden) in [
        ("E", "-ERR no 'Ea' Else\r\n", "-ERR no 'a' Else\r\n"),
        ("a", "-NOGROUP No such key 'as' a key\r\n", "-NOGROUP No such key 's' a key\r\n"),
        ("t:", "-NOGROUP t:a 't:a' xt:a\r\n", "-NOGROUP a 'a' xt:a\r\n"),
    ] {
        let rights = rights(&format!("[{{ to: ['*'], access: [all], prefix: '{prefix}' }}]")).unwrap();
        assert_eq!(rights.hide(None, &Bytes::from_static(line.as_bytes())), hidden);
    }
}

#[test]
fn what_happens_to_all_keys_is_for_whoever_sees_all() {
    let subscribe = operation::find("subscribe").unwrap();
    for (grants, allowed) in [
        ("[{ to: ['*'], access: [read], keys: ['a*'] }, { to: ['*'], access: [subscribe] }]", false),
        ("[{ to: ['*'], access: [read, subscribe], keys: ['a*'], channels: ['*'] }]", false),
        ("[{ to: ['*'], access: [read, subscribe] }]", true),
        ("[{ to: ['*'], access: [subscribe] }]", true),
        ("[{ to: ['*'], access: [read, subscribe] }, { to: ['*'], effect: deny, access: [read], keys: ['secret:*'] }]", false),
        ("[{ to: ['*'], access: [all], prefix: 'p:' }]", true),
    ] {
        let rights = rights(grants).unwrap();
        let channel = Bytes::from_static(b"__keyspace@0__:secret:1");
        assert_eq!(rights.channel(subscribe, channel.clone()).is_ok(), allowed, "{grants}");
        assert_eq!(rights.hears(&channel), allowed, "{grants}");
    }
}
