use super::*;
use crate::operation::resolve::resolve;

fn encode(line: &str) -> (Id, BytesMut) {
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    let mut out = BytesMut::new();
    resp::write_command(&mut out, &words);
    (resolve(&words).unwrap(), out)
}

fn fault(line: &str, limits: Limits) -> Option<(Code, String)> {
    let (id, command) = encode(line);
    check(id, &command, limits).err().map(|error| (error.code, error.param.unwrap_or_default().into_owned()))
}

#[test]
fn every_bound_is_of_an_operation_and_asks_by_operations() {
    for (name, bound) in BOUNDS {
        assert!(find(name).is_some_and(|id| id.operation().command.words.len() == 1), "{name}");
        if let Bound::Items(length, _) = bound {
            let (commands, count, _) = length.ask(&[b"X", b"1", b"2", b"3"]).unwrap();
            let mut rest = &commands[..];
            for _ in 0..count {
                assert!(resolve(&resp::words(resp::take_frame(&mut rest).unwrap())).is_some(), "{name}");
            }
            assert!(rest.is_empty());
        }
    }
}

#[test]
fn numbers_reach_no_further_than_a_value() {
    let limits = Limits { value_bytes: 100, items: None };
    let too_large = |param: &str| Some((Code::ValueTooLarge, param.to_owned()));
    for fine in [
        "SETRANGE a 98 xy",
        "SETRANGE a -1 x",
        "SETRANGE a x x",
        "SETBIT a 799 1",
        "SETBIT a 99999999999999999999 1",
        "BITFIELD a GET u8 999999 SET u8 792 1 OVERFLOW SAT INCRBY u4 #199 1",
        "BITFIELD a SET u8 x 1",
        "BITFIELD a SET",
        "JSON.GET a INDENT xx",
        "GET a",
    ] {
        assert_eq!(fault(fine, limits), None, "{fine}");
    }
    assert_eq!(fault("SETRANGE a 99 xy", limits), too_large("offset"));
    assert_eq!(fault("SETRANGE a 9223372036854775807 x", limits), too_large("offset"));
    assert_eq!(fault("SETBIT a 800 1", limits), too_large("offset"));
    assert_eq!(fault("BITFIELD a set u8 793 1", limits), too_large("operations.set.offset"));
    assert_eq!(fault("BITFIELD a OVERFLOW SAT GET u8 0 INCRBY u4 #200 1", limits), too_large("operations.incrby.offset"));
    assert_eq!(fault(&format!("JSON.GET a NEWLINE {} $", "x".repeat(65)), limits), too_large("newline"));
}

#[test]
fn repeats_are_bounded() {
    let fault = |line: &str, items| fault(line, Limits { value_bytes: 100, items });
    let too_large = Some((Code::ResultTooLarge, "count".to_owned()));
    for command in ["HRANDFIELD", "SRANDMEMBER", "ZRANDMEMBER"] {
        assert_eq!(fault(&format!("{command} a -100000"), None), None);
        assert_eq!(fault(&format!("{command} a -100001"), None), too_large);
        assert_eq!(fault(&format!("{command} a -9223372036854775808"), None), too_large);
        assert_eq!(fault(&format!("{command} a -11"), Some(10)), too_large);
        assert_eq!(fault(&format!("{command} a 9223372036854775807"), None), None);
        assert_eq!(fault(&format!("{command} a"), Some(1)), None);
    }
}

/// What is asked before a command may have ten items, as words; nothing if nothing is.
fn asked(line: &str) -> String {
    let (id, command) = encode(line);
    let Some(question) = question(id, &command, 10) else { return String::new() };
    let mut rest = &question.commands[..];
    let mut all = Vec::new();
    while let Some(frame) = resp::take_frame(&mut rest) {
        all.push(resp::words(frame).join(&b' '));
    }
    assert_eq!(all.len(), question.count);
    String::from_utf8(all.join(&b"; "[..])).unwrap()
}

#[test]
fn lengths_are_asked_for_where_the_command_does_not_say() {
    for (line, words) in [
        ("HGETALL a", "HLEN a"),
        ("KEYS *", "DBSIZE"),
        ("SUNION a b", "SCARD a; SCARD b"),
        ("ZDIFF 2 a b WITHSCORES", "ZCARD a; ZCARD b"),
        ("SORT a BY x", "LLEN a; SCARD a; ZCARD a"),
        ("SORT a STORE b", ""),
        ("SORT a LIMIT 5 10", ""),
        ("SORT a LIMIT 5 11", "LLEN a; SCARD a; ZCARD a"),
        ("LRANGE a 0 9", ""),
        ("LRANGE a -10 -1", ""),
        ("LRANGE a 0 -1", "LLEN a"),
        ("LRANGE a 0 10", "LLEN a"),
        ("ZRANGE a 0 -1 REV", "ZCARD a"),
        ("ZRANGE a 5 1 BYSCORE rev", "ZCOUNT a 1 5"),
        ("ZRANGE a - + BYLEX", "ZLEXCOUNT a - +"),
        ("ZRANGE a 1 5 BYSCORE LIMIT 0 10", ""),
        ("ZREVRANGEBYSCORE a 5 1", "ZCOUNT a 1 5"),
        ("XRANGE a - +", "XLEN a"),
        ("XRANGE a - + COUNT 10", ""),
        ("GEOSEARCH a FROMMEMBER m BYRADIUS 1 km COUNT 3 ANY", ""),
        ("GEORADIUS a 1 1 1 km STORE b", ""),
        ("LPOS a x", ""),
        ("LPOS a x COUNT 0", "LLEN a"),
        ("SCAN 0", ""),
        ("HSCAN a 0 COUNT 11", "HLEN a"),
        ("SRANDMEMBER a 11", "SCARD a"),
        ("SRANDMEMBER a 10", ""),
        ("GET a", ""),
    ] {
        assert_eq!(asked(line), words, "{line}");
    }
}

#[test]
fn answers_are_judged() {
    let refused = |line: &str, answers: &[Option<u64>]| {
        let (id, command) = encode(line);
        question(id, &command, 10).unwrap().judge(answers).err().and_then(|error| error.param)
    };
    assert_eq!(refused("HGETALL a", &[Some(10)]), None);
    assert_eq!(refused("HGETALL a", &[Some(11)]).as_deref(), Some("key"));
    assert_eq!(refused("HGETALL a", &[None]), None);
    assert_eq!(refused("SUNION a b", &[Some(6), Some(5)]).as_deref(), Some("keys"));
    assert_eq!(refused("SINTER a b", &[Some(11), Some(5)]), None);
    assert_eq!(refused("SDIFF a b", &[Some(5), Some(50)]), None);
    assert_eq!(refused("SORT a", &[None, Some(11), None]).as_deref(), Some("key"));
    assert_eq!(refused("LRANGE a 5 -1", &[Some(15)]), None);
    assert_eq!(refused("LRANGE a 5 -1", &[Some(16)]).as_deref(), Some("key"));
    assert_eq!(refused("LRANGE a 5 99", &[Some(4)]), None);
    assert_eq!(refused("SORT a LIMIT 90 -1", &[None, Some(100), None]), None);
}
