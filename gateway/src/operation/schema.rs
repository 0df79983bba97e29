//! JSON Schemas (2020-12) of arguments and results: a reading of the tables.

use serde_json::{Map, Value, json};

use super::Operation;
use super::param::{Count, Effect, Kind, Param};
use super::read::flat;
use super::shape::{Field, Shape};
use super::text::Form;

/// The schema of an object of arguments; `without` are given elsewhere, in the path.
pub(super) fn arguments(params: &[Param], without: &[&str]) -> Value {
    let given = |param: &&Param| !without.iter().any(|name| param.answers_to(name));
    let mut properties = Map::new();
    let mut required = Vec::new();
    let mut together = Vec::new();
    for param in flat(params).into_iter().filter(given) {
        if let Some(variable) = without.iter().find(|name| param.gathers(name)) {
            for (name, schema) in parts(param, variable) {
                properties.insert(name.into(), schema);
                required.push(name);
            }
            continue;
        }
        properties.insert(param.name.into(), argument(param));
        if param.required && params.iter().any(|outer| outer.name == param.name) {
            required.push(param.name);
        }
        if let Some(other) = param.requires {
            together.push(json!({"if": given_together(&[param]), "then": {"required": [other]}}));
        }
    }
    let excluded = params.iter().filter_map(|param| excluded(param, params));
    let choices: Vec<Value> = params.iter().filter_map(|param| choice(param, params)).chain(excluded).chain(together).collect();
    let mut schema = json!({"type": "object", "properties": properties, "additionalProperties": false});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    if !choices.is_empty() {
        schema["allOf"] = Value::Array(choices);
    }
    schema
}

/// That arguments are given. A flag that is `false` is not.
fn given_together(params: &[&Param]) -> Value {
    let names: Vec<&str> = params.iter().map(|param| param.name).collect();
    let flags = params.iter().filter(|param| matches!(param.kind, Kind::Flag | Kind::Modifier));
    let set: Map<String, Value> = flags.map(|flag| (flag.name.to_owned(), json!({"const": true}))).collect();
    if set.is_empty() { json!({"required": names}) } else { json!({"required": names, "properties": set}) }
}

/// That an argument and the one in its place are not both given.
fn excluded(param: &Param, params: &[Param]) -> Option<Value> {
    let other = param.instead.filter(|_| !param.required)?;
    let other = flat(params).into_iter().find(|param| param.name == other)?;
    let both: Vec<Value> = flat(std::slice::from_ref(param)).iter().map(|param| given_together(&[param, other])).collect();
    Some(json!({"not": {"anyOf": both}}))
}

/// What is left to give of an element of which the path has a part.
fn parts(param: &Param, given: &str) -> Vec<(&'static str, Value)> {
    match param.kind {
        Kind::Objects(params, _) => params.iter().filter(|part| part.name != given).map(|part| (part.name, argument(part))).collect(),
        Kind::Pairs(_, value, _) => vec![(Param::VALUE, kind(value))],
        _ => Vec::new(),
    }
}

/// That at most or exactly one of several is given.
fn choice(param: &Param, params: &[Param]) -> Option<Value> {
    let Kind::OneOf(choices) = param.kind else { return None };
    let mut one: Vec<Value> = choices.iter().map(|choice| given_together(&[choice])).collect();
    if let (true, Some(other)) = (param.required, param.instead) {
        one.extend(flat(params).iter().filter(|param| param.name == other).map(|param| given_together(&[param])));
    }
    if !param.required {
        let none = json!({"not": {"anyOf": one}});
        one.push(none);
    }
    Some(json!({"oneOf": one}))
}

/// The schema of one argument.
pub(super) fn argument(param: &Param) -> Value {
    let mut schema = kind(&param.kind);
    if let (Kind::List(_, Count::Sent), false) = (param.kind, param.required) {
        // There may be none.
        schema["minItems"] = 0.into();
    }
    schema["description"] = param.about.into();
    if let Some(default) = param.default {
        schema["default"] = default.into();
    }
    schema
}

fn kind(of: &Kind) -> Value {
    match *of {
        Kind::Key(_) | Kind::Bytes | Kind::Channel | Kind::Glob | Kind::Elsewhere => json!({"type": ["string", "number"]}),
        Kind::Base64 => json!({"type": "string", "contentEncoding": "base64"}),
        Kind::Json => json!({}),
        Kind::Text => json!({"type": ["string", "number"]}),
        Kind::Cursor => json!({"type": ["string", "integer"], "pattern": "^[0-9]+$"}),
        Kind::Integer | Kind::OtherDatabase => json!({"type": ["integer", "string"], "format": "int64", "pattern": "^-?[0-9]+$"}),
        Kind::Double => json!({"type": ["number", "string"], "format": "double"}),
        Kind::Flag | Kind::Modifier => json!({"type": "boolean"}),
        Kind::Choice(words) => json!({"type": "string", "enum": words.iter().map(|word| word.name).collect::<Vec<_>>()}),
        Kind::List(of, _) => list(of),
        Kind::Pairs(one, two, _) => json!({"oneOf": [
            {"type": "object", "additionalProperties": kind(two), "minProperties": 1},
            {"type": "array", "items": {"type": "array", "prefixItems": [kind(one), kind(two)], "minItems": 2, "maxItems": 2}, "minItems": 1},
        ]}),
        Kind::Object(params) => arguments(params, &[]),
        Kind::Objects(params, _) => json!({"type": "array", "items": arguments(params, &[]), "minItems": 1}),
        Kind::OneOf(_) | Kind::Fixed(_) => json!({}),
    }
}

/// An array, or its only element.
fn list(of: &Kind) -> Value {
    let one = kind(of);
    let mut schema = one.clone();
    match schema.get_mut("type") {
        Some(Value::Array(types)) => types.insert(0, "array".into()),
        Some(other) => *other = json!(["array", other.clone()]),
        None => {}
    }
    schema["items"] = one;
    schema["minItems"] = 1.into();
    schema
}

/// The schema of an operation's answer.
pub(super) fn answer(operation: &Operation) -> Value {
    let mut shapes = vec![operation.reply];
    for param in flat(operation.params) {
        shapes.extend(param.effects.iter().filter_map(|effect| if let Effect::Shape(shape) = effect { Some(*shape) } else { None }));
    }
    let mut results: Vec<Value> = shapes.iter().map(result).collect();
    results.dedup();
    let result = if results.len() == 1 { results.remove(0) } else { json!({"anyOf": results}) };
    let mut schema = json!({
        "type": "object",
        "properties": {"result": result, "encoding": {"const": "base64", "description": "Every string of the data is in base64"}},
        "required": ["result"],
    });
    if let Shape::Page(_) = operation.reply {
        schema["properties"]["cursor"] = json!({"type": "string", "description": "Where the next page begins; `0` at the end"});
        schema["required"] = json!(["result", "cursor"]);
    }
    schema
}

/// The schema of a result.
pub(super) fn result(shape: &Shape) -> Value {
    match *shape {
        Shape::Word | Shape::Bytes => json!({"type": "string"}),
        Shape::Integer => json!({"type": "integer", "format": "int64"}),
        Shape::Double => json!({"type": ["number", "string"], "format": "double"}),
        Shape::Base64 => json!({"type": "string", "contentEncoding": "base64"}),
        Shape::List(of) => json!({"type": "array", "items": result(of)}),
        Shape::Map(of) | Shape::Entries(of) => json!({"type": "object", "additionalProperties": result(of)}),
        Shape::Pairs(of) => {
            let (name, value) = (json!({"type": "string"}), result(of));
            let part = if name == value { name } else { json!({"anyOf": [name, value]}) };
            json!({"type": "array", "items": {"type": "array", "items": part, "minItems": 2, "maxItems": 2}})
        }
        Shape::Fields => json!({"type": "object", "additionalProperties": {
            "oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]
        }}),
        Shape::Record(fields) => record(fields),
        // Of words and values in turn, a server tells those that it has something to say about.
        Shape::Object(fields) => json!({"type": "object", "properties": properties(fields)}),
        Shape::Rows(fields) => json!({"type": "array", "items": record(fields)}),
        Shape::Page(of) => result(of),
        Shape::Nullable(of) => nullable(result(of)),
        Shape::Json | Shape::Raw => json!({}),
        Shape::Text(of) => text(of),
        Shape::Lines(of) => json!({"type": "array", "items": text(of)}),
    }
}

fn text(of: Form) -> Value {
    let named = |one: Value| json!({"type": "object", "additionalProperties": one});
    match of {
        Form::Sections => named(named(json!({}))),
        Form::Properties => named(json!({})),
        Form::Words => named(json!({"type": "string"})),
        Form::Node => json!({"type": "object", "properties": {
            "id": {"type": "string"},
            "address": {"type": "string"},
            "host": {"type": "string"},
            "port": {"type": "integer"},
            "flags": {"type": "array", "items": {"type": "string"}},
            "role": {"enum": ["primary", "replica"]},
            "primary": {"type": ["string", "null"]},
            "ping_sent": {"type": "integer"},
            "pong_received": {"type": "integer"},
            "config_epoch": {"type": "integer"},
            "link_state": {"type": "string"},
            "slots": {"type": "array", "items": {"type": "string"}},
        }}),
    }
}

fn nullable(mut schema: Value) -> Value {
    match schema.get_mut("type") {
        Some(Value::Array(types)) => types.push("null".into()),
        Some(one) => *one = json!([one.clone(), "null"]),
        None => return json!({"anyOf": [schema, {"type": "null"}]}),
    }
    schema
}

fn record(fields: &[Field]) -> Value {
    let required: Vec<&str> = fields.iter().filter(|field| field.column.is_none()).map(|field| field.name).collect();
    json!({"type": "object", "properties": properties(fields), "required": required})
}

fn properties(fields: &[Field]) -> Map<String, Value> {
    let property = |field: &Field| {
        let shape = result(&field.shape);
        (field.name.to_owned(), if field.rest { json!({"type": "array", "items": shape}) } else { shape })
    };
    fields.iter().map(property).collect()
}
