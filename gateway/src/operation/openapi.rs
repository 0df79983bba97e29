//! The OpenAPI document: a reading of the tables of operations and errors.

mod fixed;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::param::{Effect, Kind, Param};
use super::read::flat;
use super::route::{CONDITIONS, Choice, Method, Projection, Route};
use super::{Class, Group, Mode, Operation, Split, all, headers, links, position, schema};
use crate::error::Code;
pub(super) use fixed::problem;
use fixed::{components, own};

/// The part of a path before an operation's name or a resource.
pub(super) const BASE: &str = "/api/v1/{database}";

/// Where an endpoint says what a caller has to be granted for it.
const ACCESS: &str = "x-access";

/// The routes that share a path and a method.
pub(super) type Resources = BTreeMap<(&'static str, Method), Vec<(&'static Operation, &'static Route)>>;

/// Errors that every call can end in.
const ALWAYS: &[Code] = &[
    Code::InvalidArgument,
    Code::Unauthenticated,
    Code::Forbidden,
    Code::UnknownDatabase,
    Code::NotAcceptable,
    Code::BodyTooLarge,
    Code::UnsupportedMediaType,
    Code::RedisError,
    Code::RateLimited,
    Code::BackendError,
    Code::Unavailable,
    Code::Timeout,
];

/// The OpenAPI 3.1 document of the data API.
pub fn document() -> Value {
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for operation in all() {
        paths.entry(format!("{BASE}/{}", operation.name)).or_default().insert("post".into(), by_name(operation));
    }
    let mut resources = Resources::new();
    for operation in all() {
        for route in operation.routes {
            resources.entry((route.template, route.method)).or_default().push((operation, route));
        }
    }
    for ((template, method), routes) in &resources {
        let place = paths.entry(format!("{BASE}{template}")).or_default();
        place.insert(method.name().to_lowercase(), resource(*method, routes));
    }
    for (path, method, endpoint) in own() {
        paths.entry(path.into()).or_default().insert(method.into(), endpoint);
    }
    headers::describe(&mut paths);
    headers::name_changes(&mut paths);
    links::connect(&mut paths, &resources);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "DBX",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "HTTP in front of databases",
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        // With a token or without one: what is asked for is a matter of the gateway's configuration.
        "security": [{}, {"token": []}],
        "tags": tags(),
        "paths": paths,
        "components": components(),
    })
}

fn tags() -> Value {
    let mut tags = vec![json!({"name": "gateway", "description": "What the gateway does itself"})];
    let mut groups: Vec<Group> = all().iter().map(|operation| operation.group).collect();
    groups.dedup();
    tags.extend(groups.iter().map(|group| json!({"name": group.name()})));
    Value::Array(tags)
}

fn by_name(operation: &Operation) -> Value {
    let (arguments, answer) = example(operation);
    let schema = schema::arguments(operation.params, &[]);
    let mut description = match operation.group {
        Group::Recipes => "A script of the gateway's own, which the server runs whole.".to_owned(),
        _ => format!("The command {}.", operation.command.words.join(" ")),
    };
    for (family, since) in [("Redis", operation.since.redis), ("Valkey", operation.since.valkey)] {
        description += &since.map_or(format!(" {family} does not have it."), |since| format!(" {family} has it since {since}."));
    }
    match operation.mode {
        Mode::Call => {}
        Mode::Blocking(reason) => {
            description += &format!(" {reason}, for as long as its timeout, the call's deadline and `sockets.maxWait` let it.");
        }
        Mode::Streaming(reason) | Mode::Session(reason) => description += &format!(" Not by a call over HTTP: {reason}."),
    }
    if let Some(cluster) = operation.in_cluster() {
        description += &format!(" In a cluster: {cluster}.");
    }
    let mut parameters = parameters(["database", "encoding", "integers", "timeout"]);
    parameters.extend(places(operation));
    json!({
        "operationId": operation.name,
        ACCESS: operation.access.class.name(),
        "tags": [operation.group.name()],
        "summary": operation.summary,
        "description": description,
        "parameters": parameters,
        "requestBody": {
            "required": operation.params.iter().any(|param| param.required),
            "content": {"application/json": {"schema": schema, "example": arguments}},
        },
        "responses": responses(&errors(operation), ok(schema::answer(operation), &answer)),
    })
}

/// What may be said of where in a cluster it is done.
fn places(operation: &Operation) -> Vec<Value> {
    let keys = position::has_keys(operation);
    let split = keys && operation.split != Split::Never;
    let places = [(split, "split"), (keys && !operation.changes(), "consistency"), (!keys, "node")];
    places.iter().filter(|(is, _)| *is).map(|(_, name)| json!({"$ref": format!("#/components/parameters/{name}")})).collect()
}

/// The errors of an operation and of its arguments.
fn errors(operation: &Operation) -> Vec<Code> {
    let waits = |param: &&Param| param.effects.iter().any(|effect| matches!(effect, Effect::Blocks(_)));
    let mut errors = operation.errors.to_vec();
    errors.extend(flat(operation.params).iter().find(|param| waits(param)).map(|_| Code::WrongTransport));
    errors
}

fn resource(method: Method, routes: &[(&Operation, &Route)]) -> Value {
    let (first, route) = routes[0];
    let shared = route.choice != Choice::Only;
    let parts = matches!(route.choice, Choice::Part(_));
    let mut parameters = parameters(["database", "encoding", "integers", "timeout"]);
    parameters.extend(places(first));
    let variables: Vec<&str> = route.variables().collect();
    for name in &variables {
        parameters.push(json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"},
            "description": "Any bytes, percent-encoded"}));
    }
    let params = |operation: &'static [Param]| {
        flat(operation).into_iter().filter(|param| !variables.iter().any(|name| param.answers_to(name) || param.gathers(name)))
    };
    let takes_body = matches!(method, Method::Put | Method::Patch | Method::Post);
    if !takes_body && !parts {
        let mut known = Vec::new();
        for param in routes.iter().flat_map(|(operation, _)| params(operation.params)) {
            if !known.contains(&param.name) {
                known.push(param.name);
                parameters.push(query(param, !shared));
            }
        }
    }
    let mut errors: Vec<Code> = routes.iter().flat_map(|(operation, _)| errors(operation)).chain([Code::KeyNotFound]).collect();
    let conditional = |param: &Param| CONDITIONS.0.contains(&param.name) || CONDITIONS.1.contains(&param.name);
    if routes.iter().any(|(operation, _)| flat(operation.params).into_iter().any(conditional)) {
        errors.push(Code::PreconditionFailed);
    }
    // Who may do one of them may not do all.
    let class =
        routes.iter().map(|(operation, _)| operation.access.class).find(|class| *class == Class::Admin).unwrap_or(first.access.class);
    let mut endpoint = json!({
        "operationId": id(route.template, method),
        ACCESS: class.name(),
        "tags": [first.group.name()],
        "summary": if shared { summary(method).to_owned() } else { first.summary.to_owned() },
    });
    if takes_body {
        let bodies: Vec<Value> = routes.iter().map(|(operation, route)| body(operation, route, &variables)).collect();
        let schema = if let [one] = &bodies[..] { one.clone() } else { json!({"oneOf": bodies}) };
        let mut content = json!({"application/json": {"schema": schema}});
        if route.projection == Projection::Value && !shared {
            content["application/octet-stream"] = json!({});
            for param in params(first.params).filter(|param| param.name != "value") {
                parameters.push(query(param, false));
            }
        }
        endpoint["requestBody"] = json!({"required": true, "content": content});
    }
    endpoint["parameters"] = Value::Array(parameters);
    endpoint["responses"] = responses(&errors, answered(routes));
    endpoint
}

/// The name of a resource's endpoint.
pub(super) fn id(template: &str, method: Method) -> String {
    format!("{}{}", method.name().to_lowercase(), template.replace(['/', '{', '}', '-'], "_"))
}

fn summary(method: Method) -> &'static str {
    match method {
        Method::Get => "What there is to know",
        _ => "Changes it",
    }
}

/// What is answered at a route.
fn answered(routes: &[(&Operation, &Route)]) -> Value {
    let (operation, route) = routes[0];
    let (_, example) = example(operation);
    match route.choice {
        Choice::Part(_) => {
            let mut parts = Map::new();
            for (operation, route) in routes {
                if let Choice::Part(name) = route.choice {
                    let mut part = schema::result(&operation.reply);
                    part["description"] = operation.summary.into();
                    parts.insert(name.into(), part);
                }
            }
            let result = json!({"type": "object", "properties": parts});
            json!({"content": {"application/json": {"schema": {"type": "object", "properties": {"result": result}}}}})
        }
        Choice::When(_) | Choice::Word(_) | Choice::Else => {
            let answers: Vec<Value> = routes.iter().map(|(operation, _)| schema::answer(operation)).collect();
            json!({"content": {"application/json": {"schema": {"anyOf": answers}}}})
        }
        Choice::Only => {
            let mut ok = ok(schema::answer(operation), &example);
            if route.projection == Projection::Value && route.method == Method::Get {
                ok["content"]["application/octet-stream"] = json!({});
            }
            ok
        }
    }
}

/// What is sent to a route.
fn body(operation: &Operation, route: &Route, variables: &[&str]) -> Value {
    let mut schema = schema::arguments(operation.params, variables);
    schema["description"] = operation.summary.into();
    let mut require = |name: &str| match &mut schema["required"] {
        Value::Array(required) if required.iter().any(|known| known == name) => {}
        Value::Array(required) => required.push(name.into()),
        none => *none = json!([name]),
    };
    match route.choice {
        Choice::When(name) => require(name),
        Choice::Word(word) => {
            require(word);
            schema["properties"][word] = json!({"const": true});
        }
        Choice::Only | Choice::Else | Choice::Part(_) => {}
    }
    schema
}

fn query(param: &Param, may_require: bool) -> Value {
    let mut schema = schema::argument(param);
    let about = schema.as_object_mut().and_then(|schema| schema.remove("description"));
    let mut parameter = json!({"name": param.name, "in": "query", "required": param.required && may_require, "description": about});
    match param.kind {
        // An object or pairs are JSON in the parameter's text.
        Kind::Object(_) | Kind::Objects(..) | Kind::Pairs(..) => parameter["content"] = json!({"application/json": {"schema": schema}}),
        _ => parameter["schema"] = schema,
    }
    parameter
}

fn example(operation: &Operation) -> (Value, Value) {
    let read = |text| serde_json::from_str(text).expect("a test reads every example");
    (read(operation.example.arguments), read(operation.example.answer))
}

fn ok(schema: Value, example: &Value) -> Value {
    json!({"content": {"application/json": {"schema": schema, "example": example}}})
}

fn parameters<const N: usize>(names: [&str; N]) -> Vec<Value> {
    names.map(|name| json!({"$ref": format!("#/components/parameters/{name}")})).into()
}

fn responses(errors: &[Code], mut ok: Value) -> Value {
    let mut responses = Map::new();
    ok["description"] = "The answer".into();
    responses.insert("200".into(), ok);
    for code in ALWAYS.iter().chain(errors) {
        let response = format!("#/components/responses/{}", code.status());
        responses.insert(code.status().to_string(), json!({"$ref": response}));
    }
    Value::Object(responses)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every reference leads somewhere.
    fn resolve(document: &Value, value: &Value) {
        match value {
            Value::Object(members) => {
                if let Some(reference) = members.get("$ref") {
                    let pointer = reference.as_str().unwrap().strip_prefix('#').unwrap();
                    assert!(document.pointer(pointer).is_some(), "{reference}");
                }
                members.values().for_each(|value| resolve(document, value));
            }
            Value::Array(elements) => elements.iter().for_each(|value| resolve(document, value)),
            _ => {}
        }
    }

    #[test]
    fn the_document_is_whole() {
        let document = document();
        resolve(&document, &document);
        let paths = document["paths"].as_object().unwrap();
        let mut ids: Vec<&str> = Vec::new();
        for (path, place) in paths {
            for endpoint in place.as_object().unwrap().values() {
                ids.push(endpoint["operationId"].as_str().unwrap());
                let parameters: Vec<&Value> = endpoint["parameters"].as_array().unwrap().iter().collect();
                let declared = parameters.iter().filter(|parameter| parameter["in"] == "path").count();
                assert_eq!(path.matches('{').count(), declared + usize::from(path.contains("{database}")), "{path}");
            }
        }
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count, "an operationId repeats");
        for operation in all() {
            assert!(paths.contains_key(&format!("{BASE}/{}", operation.name)));
        }
    }

    #[test]
    fn choices_and_shapes_are_told() {
        let document = document();
        let set = &document["paths"]["/api/v1/{database}/set"]["post"];
        let body = &set["requestBody"]["content"]["application/json"]["schema"];
        assert_eq!(body["required"], json!(["key", "value"]));
        assert_eq!(body["allOf"][1]["oneOf"][0], json!({"required": ["ex"]}));
        let patch = &document["paths"]["/api/v1/{database}/keys/{key}"]["patch"]["requestBody"]["content"]["application/json"]["schema"];
        assert!(patch["oneOf"].as_array().unwrap().iter().any(|body| body["properties"]["persist"] == json!({"const": true})));
        let parts = &document["paths"]["/api/v1/{database}/keys/{key}"]["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        assert_eq!(parts["properties"]["result"]["properties"]["ttl"]["type"], "integer");
        let scan = &document["paths"]["/api/v1/{database}/keys"]["get"]["parameters"];
        assert!(scan.as_array().unwrap().iter().any(|parameter| parameter["name"] == "match"));
    }
}
