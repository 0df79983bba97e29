//! What holds of every definition.

use json_patch::merge;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube_cel::Validator;
use serde::Deserialize;
use serde_json::Value;

use super::Rule;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Case {
    message: String,
    #[serde(default)]
    old: Value,
    passes: Vec<Value>,
    fails: Vec<Value>,
}

/// A definition with its rules, their cases, and the smallest object that passes.
pub(crate) struct Subject {
    pub(crate) crd: CustomResourceDefinition,
    pub(crate) rules: &'static [Rule],
    pub(crate) cases: &'static str,
    pub(crate) smallest: Value,
}

impl Subject {
    fn schema(&self) -> Value {
        let crd = serde_json::to_value(&self.crd).unwrap();
        crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
    }

    fn changed(&self, change: &Value) -> Value {
        let mut object = self.smallest.clone();
        merge(&mut object, change);
        object
    }

    fn messages(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        let errors = Validator::new().validate(&self.schema(), object, old).err();
        errors.iter().flatten().map(|error| error.message.clone()).collect()
    }

    /// Every rule lets pass and refuses.
    pub(crate) fn check_rules(&self) {
        let cases: Vec<Case> = serde_yaml::from_str(self.cases).unwrap();
        for rule in self.rules {
            assert_eq!(cases.iter().filter(|case| case.message == rule.message).count(), 1, "one case for: {}", rule.message);
        }
        assert_eq!(cases.len(), self.rules.len());
        for case in cases {
            let old = (!case.old.is_null()).then(|| self.changed(&case.old));
            for change in &case.passes {
                assert_eq!(self.messages(&self.changed(change), old.as_ref()), [""; 0], "{change}");
            }
            for change in &case.fails {
                let told = self.messages(&self.changed(change), old.as_ref());
                assert!(told.contains(&case.message), "{change} gives {told:?} instead of {:?}", case.message);
            }
        }
    }

    /// Every field has one type and no default.
    pub(crate) fn check_types(&self) {
        walk(&self.schema(), "", &mut |schema, path| {
            assert!(schema["type"].is_string(), "{path} has no single type: {schema}");
            for word in ["default", "nullable", "oneOf", "anyOf", "allOf", "not", "$ref", "x-kubernetes-int-or-string"] {
                assert!(schema.get(word).is_none(), "{path} has {word}");
            }
            let both = schema.get("properties").is_some() && schema.get("additionalProperties").is_some();
            assert!(!both, "{path} has both kinds of properties");
            if let Some(format) = schema["format"].as_str() {
                assert!(["int32", "int64", "date-time"].contains(&format), "{path} has the format {format}");
            }
        });
    }

    /// Everything that a user writes is bounded.
    pub(crate) fn check_bounds(&self) {
        walk(&self.schema()["properties"]["spec"], "spec", &mut |schema, path| {
            let has = |word: &str| schema.get(word).is_some();
            match schema["type"].as_str().unwrap() {
                "string" => assert!(has("maxLength") || has("enum"), "{path} has no maxLength"),
                "array" => assert!(has("maxItems"), "{path} has no maxItems"),
                "integer" => assert!(has("minimum") && has("maximum"), "{path} has no bounds"),
                "object" => {
                    // What has no properties at all takes none.
                    let bounded = has("maxProperties") || !has("additionalProperties");
                    assert!(bounded, "{path} has no maxProperties");
                }
                _ => {}
            }
        });
    }

    /// `kubectl explain` reads like documentation: every field says what it is for in a sentence.
    pub(crate) fn check_words(&self) {
        for part in ["spec", "status"] {
            walk(&self.schema()["properties"][part], part, &mut |schema, path| match schema["description"].as_str() {
                Some(text) => {
                    assert!(text.split_whitespace().count() > 2, "{path} is hardly described: {text:?}");
                    assert!(text.ends_with('.'), "{path} is no sentence: {text:?}");
                }
                None => assert!(path.ends_with("[]") || path.ends_with("{}"), "{path} has no description"),
            });
        }
    }

    /// The definition is small enough, and the stored file is current.
    pub(crate) fn check_file(&self, name: &str) {
        // A client-side apply keeps the object as JSON in an annotation.
        let json = serde_json::to_string(&self.crd).unwrap();
        assert!(json.len() < 100 << 10, "{} bytes are more than a client-side apply should keep", json.len());
        let generated = format!("{}/{name}", env!("CARGO_MANIFEST_DIR"));
        let stored: Value = serde_yaml::from_str(&std::fs::read_to_string(&generated).unwrap()).unwrap();
        assert!(stored == serde_json::to_value(&self.crd).unwrap(), "{generated} is stale; `make generate` writes it");
    }
}

/// Visits every schema below one, with its path.
fn walk(schema: &Value, path: &str, visit: &mut impl FnMut(&Value, &str)) {
    visit(schema, path);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(property, &format!("{path}.{name}"), visit);
    }
    for (field, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
        if schema[field].is_object() {
            walk(&schema[field], &format!("{path}{mark}"), visit);
        }
    }
}
