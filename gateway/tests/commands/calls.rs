//! Calls made from the table alone: the least one, and each option with all others that it goes with.

use std::collections::BTreeMap;

use dbx_gateway::operation::param::{Kind, Param, Role};
use serde_json::{Map, Value, json};

use crate::server::Version;
use crate::there;

/// Arguments of calls. Every key has a name of its own.
pub fn all(params: &[Param], version: Version) -> Vec<Value> {
    let most = params.iter().map(|param| if let Kind::OneOf(choices) = param.kind { choices.len() } else { 1 }).max().unwrap_or(0);
    let mut calls = vec![Value::Object(members(params, None, version))];
    calls.extend((0..most).map(|choice| Value::Object(members(params, Some(choice), version))));
    // Options do not always go together, so each is called alone as well.
    for param in params.iter().filter(|param| !param.required) {
        let mut call = members(params, None, version);
        add(param, Some(0), version, &mut call);
        calls.push(Value::Object(call));
    }
    calls.into_iter().filter(|call| whole(params, call)).collect()
}

/// Whether every argument has the one that it requires, and none the one in its place.
fn whole(params: &[Param], call: &Value) -> bool {
    params.iter().all(|param| {
        let given = match param.kind {
            Kind::OneOf(choices) => choices.iter().any(|choice| call.get(choice.name).is_some()),
            _ => call.get(param.name).is_some(),
        };
        !given
            || param.requires.is_none_or(|other| call.get(other).is_some()) && param.instead.is_none_or(|other| call.get(other).is_none())
    })
}

fn members(params: &[Param], options: Option<usize>, version: Version) -> Map<String, Value> {
    let mut members = Map::new();
    for param in params.iter().filter(|param| param.required || options.is_some()) {
        add(param, options, version, &mut members);
    }
    members
}

fn add(param: &Param, options: Option<usize>, version: Version, call: &mut Map<String, Value>) {
    if !there(param, version) {
        return;
    }
    match param.kind {
        Kind::OneOf(choices) => {
            let choices: Vec<_> = choices.iter().filter(|choice| there(choice, version)).collect();
            if let Some(choice) = options.unwrap_or(0).checked_rem(choices.len()).and_then(|at| choices.get(at)) {
                add(choice, options, version, call);
            }
        }
        Kind::Fixed(_) => {}
        kind => {
            call.insert(param.name.into(), value(&kind, param.name, options, version));
        }
    }
}

fn value(kind: &Kind, name: &str, options: Option<usize>, version: Version) -> Value {
    match kind {
        Kind::Key(_) => format!("k:{name}").into(),
        Kind::Bytes | Kind::Text | Kind::Channel | Kind::Glob | Kind::Elsewhere => "1".into(),
        Kind::Json => 1.into(),
        Kind::Base64 => "AMABCgAmeOe20QER/A==".into(),
        Kind::Integer | Kind::OtherDatabase => 1.into(),
        Kind::Cursor => "0".into(),
        Kind::Double => 1.5.into(),
        Kind::Flag | Kind::Modifier => true.into(),
        Kind::Choice(words) => words[0].name.into(),
        Kind::List(of, _) => json!([value(of, &format!("{name}:0"), options, version), value(of, &format!("{name}:1"), options, version)]),
        Kind::Pairs(one, two, _) => json!([0, 1].map(|at| {
            [value(one, &format!("{name}:{at}"), options, version), value(two, &format!("{name}:{at}:v"), options, version)]
        })),
        Kind::Object(params) => Value::Object(members(params, options, version)),
        Kind::Objects(params, _) => json!([members(params, options, version)]),
        Kind::OneOf(_) | Kind::Fixed(_) => panic!("it has no value"),
    }
}

/// The keys of a call made here, and their roles.
pub fn keys(params: &[Param], call: &Value, keys: &mut BTreeMap<String, Role>) {
    for param in params {
        match param.kind {
            Kind::OneOf(inner) => self::keys(inner, call, keys),
            Kind::Object(inner) => self::keys(inner, &call[param.name], keys),
            kind => {
                let Some(given) = call.get(param.name) else { continue };
                match kind {
                    Kind::Key(role) => drop(keys.insert(given.as_str().unwrap().into(), role)),
                    Kind::List(Kind::Key(role), _) => {
                        keys.extend(given.as_array().unwrap().iter().map(|key| (key.as_str().unwrap().to_owned(), *role)));
                    }
                    Kind::Pairs(Kind::Key(role), ..) => {
                        keys.extend(given.as_array().unwrap().iter().map(|pair| (pair[0].as_str().unwrap().to_owned(), *role)));
                    }
                    _ => {}
                }
            }
        }
    }
}
