//! What roles give, and what an audit log says was asked for. The end-to-end tests use this file too.

use std::collections::BTreeSet;

use serde_json::Value;

/// A verb on a resource: `apps/deployments get`.
type Right = String;

fn words(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// What the roles of the operator itself give in a manifest, but what only admission asks for: who may set owner references
/// that block, where it checks that.
pub(crate) fn given(manifest: &str) -> BTreeSet<Right> {
    let documents = manifest.split("\n---\n").map(|document| serde_yaml::from_str::<Value>(document).expect("the manifest is YAML"));
    let ours = documents.filter(|document| {
        matches!(document["kind"].as_str(), Some("ClusterRole" | "Role")) && document["metadata"]["name"] == "dbx-operator"
    });
    let mut given = BTreeSet::new();
    for rule in ours.flat_map(|role| role["rules"].as_array().cloned().unwrap_or_default()) {
        for group in words(&rule["apiGroups"]) {
            for resource in words(&rule["resources"]) {
                given.extend(words(&rule["verbs"]).map(|verb| format!("{group}/{resource} {verb}")));
            }
        }
    }
    given.retain(|right| !right.ends_with("/finalizers update"));
    given
}

/// What was asked for by requests of an audit log, and what of it was refused.
pub(crate) fn asked<'a>(requests: impl IntoIterator<Item = &'a Value>) -> (BTreeSet<Right>, Vec<String>) {
    let (mut asked, mut denied) = (BTreeSet::new(), Vec::new());
    for entry in requests {
        let object = &entry["objectRef"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let resource = [text(&object["resource"]), text(&object["subresource"])];
        let resource = if resource[1].is_empty() { resource[0].clone() } else { resource.join("/") };
        let right = format!("{}/{resource} {}", text(&object["apiGroup"]), text(&entry["verb"]));
        if entry["annotations"]["authorization.k8s.io/decision"] == "forbid" {
            denied.push(format!("{right}: {}", text(&entry["requestURI"])));
        }
        // What is applied and does not exist yet takes the right to create it, too.
        if text(&entry["verb"]) == "patch" && entry["responseStatus"]["code"] == 201 {
            asked.insert(right.replace(" patch", " create"));
        }
        asked.insert(right);
    }
    (asked, denied)
}
