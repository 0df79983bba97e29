//! The file of a gateway's keys: a pure function of the keys that it takes.

use std::collections::HashSet;

use dbx_crds::api_key::{DbxApiKeySpec, token};
use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::names;

/// What is known of one key: all but its text. It is stored as an annotation of the Secrets that hold the text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) sha256: String,
    pub(crate) created: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires: Option<Timestamp>,
}

impl Record {
    /// Whether it has the form of one: whoever may write a Secret may write its annotations.
    pub(super) fn is_sound(&self) -> bool {
        token::is_id(&self.id) && self.sha256.len() == 64 && self.sha256.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    }
}

#[derive(Serialize)]
struct File<'a> {
    keys: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    id: &'a str,
    name: &'a str,
    sha256: &'a str,
    created: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<Timestamp>,
    grants: [Grant<'a>; 1],
}

#[derive(Serialize)]
struct Grant<'a> {
    access: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    databases: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: &'a Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channels: &'a Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix: &'a Option<String>,
}

/// Renders the file from the name of each key, what it may do, and what is known of it.
pub(crate) fn render(keys: &[(String, DbxApiKeySpec, Vec<Record>)]) -> String {
    let mut entries: Vec<Entry<'_>> = keys
        .iter()
        .flat_map(|(name, spec, records)| {
            records.iter().map(move |record| Entry {
                id: &record.id,
                name,
                sha256: &record.sha256,
                created: record.created,
                expires: record.expires,
                grants: [Grant {
                    access: &spec.access,
                    databases: &spec.databases,
                    keys: &spec.keys,
                    channels: &spec.channels,
                    prefix: &spec.prefix,
                }],
            })
        })
        .collect();
    entries.sort_by_key(|entry| (entry.name, entry.created, entry.id));
    // An id that somebody copied must not spoil the file for all.
    let mut ids = HashSet::new();
    entries.retain(|entry| ids.insert(entry.id));
    serde_yaml::to_string(&File { keys: entries }).expect("a file of keys is YAML")
}

/// What pods call the file that they have read: the first 16 hexadecimal digits of its SHA-256.
pub(crate) fn revision(file: &str) -> String {
    names::hex(&Sha256::digest(file.as_bytes())[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_depends_on_the_keys_alone() {
        let spec = |yaml: &str| serde_yaml::from_str::<DbxApiKeySpec>(yaml).unwrap();
        let record = |id: &str, expires: Option<&str>| Record {
            id: id.repeat(16),
            sha256: id.repeat(64),
            created: "2026-11-25T03:00:00Z".parse().unwrap(),
            expires: expires.map(|time| time.parse().unwrap()),
        };
        let small = spec("{ gatewayRef: { name: a }, access: [read], secretName: s }");
        let all = spec(
            "{ gatewayRef: { name: a }, access: [read, write], databases: [redis], keys: ['cart:*'], channels: [], prefix: 'x:', secretName: s }",
        );
        let web = ("shop/web".to_owned(), all, vec![record("1", None), record("0", Some("2026-11-25T04:00:00Z"))]);
        let job = ("shop/job".to_owned(), small, vec![record("2", None)]);
        let file = render(&[web.clone(), job.clone()]);
        insta::assert_snapshot!(file);
        assert_eq!(render(&[job.clone(), web.clone()]), file);
        let copied = ("shop/zebra".to_owned(), job.1.clone(), job.2.clone());
        assert_eq!(render(&[copied, job, web]), file, "an id is taken once");
        assert_eq!((render(&[]).as_str(), revision("abc").as_str()), ("keys: []\n", "ba7816bf8f01cfea"));
    }
}
