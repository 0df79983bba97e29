//! Calls made from the table alone; a source says what is in them.

use dbx_gateway::operation::param::{Kind, Param};
use serde_json::{Map, Value, json};

/// What is in a call.
pub trait Source {
    /// Whether an argument that can be left out is there.
    fn takes(&mut self, param: &Param) -> bool;
    /// Which of several.
    fn choose(&mut self, count: usize) -> usize;
    /// How many there are of what repeats.
    fn repeats(&mut self) -> usize;
    /// A value of a simple kind.
    fn value(&mut self, kind: &Kind, name: &str) -> Value;
}

/// The arguments of a call; none when they do not go together.
pub fn arguments(params: &[Param], source: &mut dyn Source) -> Option<Value> {
    let call = Value::Object(members(params, source));
    let given = |name: &str| call.get(name).is_some();
    let fits = |param: &Param| {
        let is_given = match param.kind {
            Kind::OneOf(choices) => choices.iter().any(|choice| given(choice.name)),
            _ => given(param.name),
        };
        !is_given || (param.requires.is_none_or(given) && param.instead.is_none_or(|other| !given(other)))
    };
    params.iter().all(fits).then_some(call)
}

fn members(params: &[Param], source: &mut dyn Source) -> Map<String, Value> {
    let mut members = Map::new();
    for param in params {
        if !param.required && !source.takes(param) {
            continue;
        }
        match param.kind {
            Kind::OneOf(choices) => {
                let choice = &choices[source.choose(choices.len())];
                members.insert(choice.name.into(), value(&choice.kind, choice.name, source));
            }
            Kind::Fixed(_) => {}
            kind => drop(members.insert(param.name.into(), value(&kind, param.name, source))),
        }
    }
    members
}

fn value(kind: &Kind, name: &str, source: &mut dyn Source) -> Value {
    match kind {
        Kind::List(of, _) => (0..source.repeats()).map(|_| value(of, name, source)).collect(),
        Kind::Pairs(one, two, _) => (0..source.repeats()).map(|_| json!([value(one, name, source), value(two, "value", source)])).collect(),
        Kind::Object(params) => Value::Object(members(params, source)),
        Kind::Objects(params, _) => json!([members(params, source)]),
        Kind::Flag | Kind::Modifier => true.into(),
        Kind::Choice(words) => words[source.choose(words.len())].name.into(),
        kind => source.value(kind, name),
    }
}

/// Whether an argument can hold a key.
pub fn holds_key(kind: &Kind) -> bool {
    match kind {
        Kind::Key(_) => true,
        Kind::List(of, _) => holds_key(of),
        Kind::Pairs(one, two, _) => holds_key(one) || holds_key(two),
        Kind::Object(params) | Kind::Objects(params, _) | Kind::OneOf(params) => params.iter().any(|param| holds_key(&param.kind)),
        _ => false,
    }
}
