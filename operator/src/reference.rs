//! The reference pages of the custom resources, read from their definitions, so that a field is described where it is
//! declared and nowhere else.

use dbx_crds::{
    api_key,
    gateway::{self, Reason},
    reference::table,
    shape::{ITEM, Kind, Shape},
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;

use crate::args::Definition;

/// The field of `spec` that has a page of its own, and that page.
const ELSEWHERE: (&str, &str) = ("config", "../configuration.md");

/// The page of a definition, `docs/src/reference/*.md`.
pub fn page(definition: Definition) -> String {
    let gateways = Reason::ALL.iter().copied().filter(|reason| reason.is_of_gateways()).collect();
    match definition {
        Definition::Dbxgateways => write(include_str!("reference/dbxgateway.md"), &gateway::crd(), gateways),
        Definition::Dbxapikeys => write(include_str!("reference/dbxapikey.md"), &api_key::crd(), Reason::OF_KEYS.to_vec()),
    }
}

fn write(introduction: &str, definition: &CustomResourceDefinition, reasons: Vec<Reason>) -> String {
    let definition = serde_json::to_value(definition).expect("a definition is JSON");
    let version = &definition["spec"]["versions"][0];
    let schema = &version["schema"]["openAPIV3Schema"];
    let [spec, status] = ["spec", "status"].map(|part| Shape::read(&schema["properties"][part]));
    let rules: Vec<[String; 3]> = rules(schema, String::new());
    let reasons = reasons.iter().map(|reason| {
        let word = reason.as_str();
        [format!("[`{word}`](../troubleshooting.md#{})", word.to_lowercase()), reason.about().to_owned()]
    });
    [
        introduction.to_owned(),
        kinds(&definition),
        "\n## Spec\n".to_owned(),
        fields(&spec),
        "\n## Rules\n\nWhat the API server refuses, with these words, before the operator sees it. `self` is what stands at the place.\n"
            .to_owned(),
        table(["at", "what is said", "rule"], rules),
        "\n## Status\n\nWritten by the operator alone.\n".to_owned(),
        told(&status),
        "\n## Reasons\n\nWhat `reason` of a condition may be. Each is explained in [Troubleshooting](../troubleshooting.md).\n".to_owned(),
        table(["reason", "what it says"], reasons),
        "\n## Columns\n\nWhat `kubectl get` shows; the last with `-o wide` only.\n".to_owned(),
        columns(&version["additionalPrinterColumns"]),
    ]
    .concat()
}

/// How kubectl calls it.
fn kinds(definition: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let names = &definition["spec"]["names"];
    let version = &definition["spec"]["versions"][0];
    let subresources = version["subresources"].as_object().into_iter().flatten().map(|(name, _)| format!("`{name}`"));
    let rows = [
        ["`apiVersion`".to_owned(), format!("`{}/{}`", text(&definition["spec"]["group"]), text(&version["name"]))],
        ["`kind`".to_owned(), format!("`{}`", text(&names["kind"]))],
        ["for kubectl".to_owned(), format!("`{}`, `{}`", text(&names["plural"]), text(&names["shortNames"][0]))],
        ["with the others of DBX".to_owned(), format!("`kubectl get {}`", text(&names["categories"][0]))],
        ["subresources".to_owned(), subresources.collect::<Vec<_>>().join(", ")],
    ];
    table(["name", ""], rows)
}

/// A table of the outermost fields, and one for each of them that has fields itself.
fn fields(spec: &Shape) -> String {
    let Kind::Section(outermost, _) = &spec.kind else { return String::new() };
    let has_fields = |name: &str, shape: &Shape| name != ELSEWHERE.0 && !shape.below().is_empty();
    let all = outermost.iter().map(|(name, shape)| {
        let mut cells = cells(spec, std::slice::from_ref(name), shape);
        match name.as_str() {
            name if name == ELSEWHERE.0 => cells[1] = format!("[configuration]({})", ELSEWHERE.1),
            name if has_fields(name, shape) => cells[1] = format!("[{}](#{})", cells[1], name.to_lowercase()),
            _ => {}
        }
        cells
    });
    let mut text = table(COLUMNS, all);
    for (name, shape) in outermost.iter().filter(|(name, shape)| has_fields(name, shape)) {
        text += &format!("\n### {name}\n\n{}\n", shape.said().0);
        let inside = spec.below().into_iter().filter(|(path, _)| path.len() > 1 && path[0] == *name);
        text += &table(COLUMNS, inside.map(|(path, shape)| cells(spec, &path, shape)));
    }
    text
}

/// A table of what can only be read.
fn told(status: &Shape) -> String {
    let fields = status.below().into_iter();
    table(["field", "is", "what it tells"], fields.map(|(path, field)| [name(&path), field.wants(), field.said().0]))
}

const COLUMNS: [&str; 4] = ["field", "wants", "default", "what it is for"];

fn cells(root: &Shape, path: &[String], field: &Shape) -> [String; 4] {
    let (description, default) = field.said();
    let (last, around) = path.split_last().expect("a field has a name");
    let is_required = matches!(root.at(around).map(|section| &section.kind), Ok(Kind::Section(_, required)) if required.contains(last));
    [name(path), field.wants(), if is_required { "required".to_owned() } else { default }, description]
}

fn name(path: &[String]) -> String {
    format!("`{}`", path.join(".").replace(&format!(".{ITEM}"), "[]"))
}

/// Every rule at and below a place: where it is, its words, and what it is in CEL.
fn rules(schema: &Value, at: String) -> Vec<[String; 3]> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let place = if at.is_empty() { "the object".to_owned() } else { format!("`{at}`") };
    let own = schema["x-kubernetes-validations"].as_array().into_iter().flatten();
    let mut found: Vec<_> = own.map(|rule| [place.clone(), text(&rule["message"]), format!("`{}`", text(&rule["rule"]))]).collect();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        found.extend(rules(property, format!("{at}.{name}").trim_start_matches('.').to_owned()));
    }
    if schema["items"].is_object() {
        found.extend(rules(&schema["items"], format!("{at}[]")));
    }
    found
}

fn columns(columns: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let columns = columns.as_array().into_iter().flatten().map(|column| {
        let about = [text(&column["description"]), format!("`{}`", text(&column["jsonPath"]))];
        let wide = if column["priority"].as_i64().unwrap_or_default() > 0 { "`-o wide`" } else { "" };
        [text(&column["name"]), about.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", "), wide.to_owned()]
    });
    table(["column", "what it shows", ""], columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_are_current_and_whole() {
        for (definition, name) in [(Definition::Dbxgateways, "dbxgateway"), (Definition::Dbxapikeys, "dbxapikey")] {
            let path = format!("{}/../docs/src/reference/{name}.md", env!("CARGO_MANIFEST_DIR"));
            let stored = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(stored == page(definition), "{path} is stale: `make generate` writes it");
        }
    }

    #[test]
    fn a_reason_is_one_of_gateways_or_of_keys() {
        for reason in Reason::ALL {
            assert!(reason.is_of_gateways() || Reason::OF_KEYS.contains(reason), "{reason} is of nothing");
        }
    }
}
