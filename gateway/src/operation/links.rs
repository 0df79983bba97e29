//! The part of the OpenAPI document that tells what can be called next with what an answer holds: a reading of the routes.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::all;
use super::openapi::{BASE, Resources};
use super::read::flat;
use super::route::Method;
use super::shape::Shape;

/// The variable that the answer to what made a resource is.
const RESULT: &str = "sha1";

/// Adds links to the answers that lead somewhere.
pub(super) fn connect(paths: &mut BTreeMap<String, Map<String, Value>>, resources: &Resources) {
    for operation in all() {
        let path = format!("{BASE}/{}", operation.name);
        for route in operation.routes {
            let known = route.variables().all(|name| flat(operation.params).iter().any(|param| param.name == name));
            if changes(route.method) && known && resources.contains_key(&(route.template, Method::Get)) {
                let to = Link::new(route.template, Method::Get, route.variables(), "$request.body#/");
                to.add(paths, &path, "post", "read", "What is there now");
            }
        }
        if let Shape::Page(_) = operation.reply {
            let mut body = Map::from_iter([("cursor".to_owned(), json!("$response.body#/cursor"))]);
            let required = operation.params.iter().filter(|param| param.required && param.name != "cursor");
            body.extend(required.map(|param| (param.name.to_owned(), format!("$request.body#/{}", param.name).into())));
            let to = Link { operation: operation.name.into(), body: Some(body.into()), ..Link::default() };
            to.add(paths, &path, "post", "next", "The next page");
        }
    }
    for (&(template, method), routes) in resources {
        let (path, name) = (format!("{BASE}{template}"), method.name().to_lowercase());
        let (operation, route) = routes[0];
        let same = |to: Method| Link::new(template, to, route.variables(), "$request.path.");
        let is_there = |method| resources.contains_key(&(template, method));
        if changes(method) && is_there(Method::Get) {
            same(Method::Get).add(paths, &path, &name, "read", "What is there now");
        }
        if let (Shape::Page(_), Method::Get) = (operation.reply, method) {
            same(method).with("query.cursor", "$response.body#/cursor").add(paths, &path, &name, "next", "The next page");
        }
        if paths[&path][&name].pointer("/responses/200/headers/ETag").is_some() {
            let tag = "$response.header.ETag";
            same(method).with("header.If-None-Match", tag).add(paths, &path, &name, "again", "The value, if it has changed");
            if is_there(Method::Put) {
                let to = same(Method::Put).with("header.If-Match", tag);
                to.add(paths, &path, &name, "replace", "Another value, if nobody has changed it");
            }
        }
        if method == Method::Post {
            for (&(below, to), routes) in resources {
                let variable = below.strip_prefix(template).and_then(|rest| rest.strip_prefix("/{")?.strip_suffix('}'));
                let Some(variable) = variable.filter(|rest| !rest.contains('/')) else { continue };
                let given = flat(operation.params).iter().any(|param| param.name == variable);
                let source = match variable {
                    _ if given => format!("$request.body#/{variable}"),
                    RESULT => "$response.body#/result".to_owned(),
                    _ => continue,
                };
                let to = Link::new(below, to, route.variables(), "$request.path.").with(&format!("path.{variable}"), &source);
                let link = to.operation.clone();
                to.add(paths, &path, &name, &link, routes[0].0.summary);
            }
        }
    }
}

/// Whether something is there after it.
fn changes(method: Method) -> bool {
    matches!(method, Method::Put | Method::Post | Method::Patch)
}

/// What to call, and with what.
#[derive(Default)]
struct Link {
    operation: String,
    parameters: Map<String, Value>,
    body: Option<Value>,
}

impl Link {
    /// A link to a resource whose variables are found behind `from`.
    fn new(template: &str, method: Method, variables: impl Iterator<Item = &'static str>, from: &str) -> Self {
        let parameters = variables.map(|name| (format!("path.{name}"), format!("{from}{name}").into())).collect();
        Self { operation: super::openapi::id(template, method), parameters, body: None }
    }

    fn with(mut self, parameter: &str, expression: &str) -> Self {
        self.parameters.insert(parameter.into(), expression.into());
        self
    }

    /// Adds it under a name to the answer of an endpoint.
    fn add(mut self, paths: &mut BTreeMap<String, Map<String, Value>>, path: &str, method: &str, name: &str, description: &str) {
        self.parameters.insert("path.database".into(), "$request.path.database".into());
        let mut link = json!({"operationId": self.operation, "parameters": self.parameters, "description": description});
        if let Some(body) = self.body {
            link["requestBody"] = body;
        }
        if let Some(endpoint) = paths.get_mut(path).and_then(|place| place.get_mut(method)) {
            endpoint["responses"]["200"]["links"][name] = link;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::openapi;
    use super::*;

    #[test]
    fn links_lead_to_endpoints() {
        let document = openapi::document();
        let endpoints: Vec<&Value> =
            document["paths"].as_object().unwrap().values().flat_map(|place| place.as_object().unwrap().values()).collect();
        let ids: Vec<&Value> = endpoints.iter().map(|endpoint| &endpoint["operationId"]).collect();
        let links = endpoints.iter().filter_map(|endpoint| endpoint["responses"]["200"]["links"].as_object());
        let links: Vec<&Value> = links.flat_map(Map::values).collect();
        assert!(links.len() > 40 && links.iter().all(|link| ids.contains(&&link["operationId"])), "{links:?}");
        let to = |path: &str, method: &str, name: &str| {
            let link = &document["paths"][format!("{BASE}{path}")][method]["responses"]["200"]["links"][name];
            (link["operationId"].as_str().unwrap_or_default().to_owned(), link["parameters"].clone(), link["requestBody"].clone())
        };
        let database = "$request.path.database";
        let set = json!({"path.database": database, "path.key": "$request.body#/key"});
        assert_eq!(to("/set", "post", "read"), ("get_strings__key_".into(), set, Value::Null));
        let again = json!({"path.database": database, "path.key": "$request.path.key", "header.If-None-Match": "$response.header.ETag"});
        assert_eq!(to("/strings/{key}", "get", "again"), ("get_strings__key_".into(), again, Value::Null));
        let script = json!({"path.database": database, "path.sha1": "$response.body#/result"});
        assert_eq!(to("/scripts", "post", "post_scripts__sha1_"), ("post_scripts__sha1_".into(), script, Value::Null));
        let page = json!({"key": "$request.body#/key", "cursor": "$response.body#/cursor"});
        assert_eq!(to("/hscan", "post", "next"), ("hscan".into(), json!({"path.database": database}), page));
    }
}
