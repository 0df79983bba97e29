//! That the table is whole: names, order, arguments, routes, examples.

use std::collections::HashSet;

use super::*;
use param::{Kind, Param};
use route::Choice;

/// Words of paths that are not operations.
const RESERVED: &[&str] =
    &["ws", "pipeline", "transaction", "raw", "session", "cancel", "authenticate", "observe", "follow", "consume", "ack", "whoami"];

/// Words of paths that begin resources. `keys` and `info` are operations as well, which are called by POST alone; the resources have no POST.
const RESOURCES: &[&str] = &["strings", "hashes", "lists", "sets", "sorted-sets", "streams", "channels", "scripts", "functions", "cluster"];

#[test]
fn names_are_the_words_of_the_command() {
    for operation in all().iter().filter(|operation| operation.group != Group::Recipes) {
        let name = operation.command.words.join("_").to_lowercase().replace(['-', '.', '|'], "_");
        assert_eq!(operation.name, name);
        assert!(operation.command.words.iter().all(|word| word.to_uppercase() == *word), "{name}");
        assert!(!RESERVED.contains(&operation.name), "{name} is reserved");
        assert!(!RESOURCES.contains(&operation.name), "{name} is a resource");
    }
    assert!(find("nonsense").is_none());
}

#[test]
fn entries_are_in_order_and_found() {
    for group in GROUPS {
        assert!(group.is_sorted_by(|one, next| one.name < next.name && one.group == next.group));
    }
    for id in ids() {
        assert_eq!(find(id.operation().name), Some(id));
        assert!(std::ptr::eq(all()[id.index()], id.operation()));
    }
}

#[test]
fn entries_are_whole() {
    for operation in all() {
        let name = operation.name;
        assert!(operation.since.redis.is_some() || operation.since.valkey.is_some(), "{name}");
        assert!(!operation.summary.is_empty() && !operation.summary.ends_with('.'), "{name}");
        assert!(!operation.changes() || operation.access.class != Class::Read, "{name} changes data and asks for reading alone");
        check_params(name, operation.params);
        let names: Vec<_> = read::flat(operation.params).iter().map(|param| param.name).collect();
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len(), "{name} has an argument twice: {names:?}");
    }
}

fn check_params(operation: &str, params: &[Param]) {
    let known: Vec<_> = read::flat(params).iter().map(|param| param.name).collect();
    for param in params {
        let name = format!("{operation} {}", param.name);
        assert!(param.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'), "{name}");
        assert!(param.requires.is_none_or(|other| known.contains(&other)), "{name} requires what is not there");
        assert!(param.instead.is_none_or(|other| known.contains(&other)), "{name} has in its place what is not there");
        if matches!(param.kind, Kind::List(..) | Kind::Objects(..) | Kind::Pairs(..)) {
            assert!(param.name.ends_with('s'), "{name} repeats and is no plural");
        }
        match param.kind {
            Kind::OneOf(inner) | Kind::Object(inner) | Kind::Objects(inner, _) => check_params(operation, inner),
            Kind::Fixed(_) => {}
            _ => assert!(!param.about.is_empty(), "{name} is not described"),
        }
    }
}

#[test]
fn routes_name_arguments() {
    for operation in all() {
        let params = read::flat(operation.params);
        for route in operation.routes {
            let place = format!("{} {} of {}", route.method.name(), route.template, operation.name);
            for variable in route.variables() {
                assert!(
                    params.iter().any(|param| param.answers_to(variable) || param.gathers(variable)),
                    "{place} has no argument `{variable}`"
                );
            }
            match route.choice {
                Choice::When(argument) => assert!(params.iter().any(|param| param.name == argument), "{place}"),
                Choice::Word(word) => assert!(params.iter().all(|param| !param.answers_to(word)), "{place}"),
                Choice::Only | Choice::Else | Choice::Part(_) => {}
            }
        }
    }
}

#[test]
fn routes_do_not_clash() {
    let mut places = Vec::new();
    for operation in all() {
        for route in operation.routes {
            let path: Vec<_> = route.template.split('/').map(|segment| if segment.starts_with('{') { "{}" } else { segment }).collect();
            places.push((route.method, path.join("/"), route, operation));
        }
    }
    for (at, (method, path, route, operation)) in places.iter().enumerate() {
        for (_, _, other, another) in places[..at].iter().filter(|(m, p, ..)| m == method && p == path) {
            let place = format!("{} {path} of {} and {}", method.name(), operation.name, another.name);
            assert_eq!(route.template, other.template, "{place} name their variables differently");
            match (route.choice, other.choice) {
                (Choice::Part(one), Choice::Part(two)) => assert_ne!(one, two, "{place}"),
                (Choice::When(one) | Choice::Word(one), Choice::When(two) | Choice::Word(two)) => assert_ne!(one, two, "{place}"),
                (Choice::Else, Choice::When(_) | Choice::Word(_)) | (Choice::When(_) | Choice::Word(_), Choice::Else) => {}
                _ => panic!("{place} clash"),
            }
        }
    }
}

#[test]
fn examples_are_encoded() {
    let rules = encode::Rules { encoding: encode::Encoding::Utf8, max_key_bytes: 1024, max_value_bytes: 1024 };
    for operation in all() {
        let arguments = arguments::Arguments::from_json(operation.example.arguments.as_bytes()).unwrap();
        let mut out = bytes::BytesMut::new();
        let plan = operation.encode_any(&arguments, &rules, &mut out);
        assert!(plan.is_ok(), "{}: {plan:?}", operation.name);
        let mut scanner = crate::resp::Scanner::default();
        assert_eq!(scanner.scan(&out), Ok(Some(out.len())), "{}", operation.name);
        serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(operation.example.answer).unwrap();
        let refused = operation.encode(&arguments, &rules, &mut out).err().map(|error| error.code);
        assert_eq!(refused, (operation.mode != Mode::Call).then_some(Code::WrongTransport), "{}", operation.name);
    }
}
