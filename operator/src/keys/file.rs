//! The file of a gateway's keys: a pure function of the keys that it takes.

use std::{collections::HashSet, time::SystemTime};

use dbx_crds::{
    api_key::{
        DbxApiKeySpec,
        file::{Fingerprint, Key, KeyFile},
        token,
    },
    config::Grant,
};
use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};

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
        token::is_id(&self.id) && self.sha256.parse::<Fingerprint>().is_ok()
    }
}

/// Renders the file from the name of each key, what it may do, and what is known of it.
pub(crate) fn render(keys: &[(String, DbxApiKeySpec, Vec<Record>)]) -> String {
    let entry = |name: &String, spec: &DbxApiKeySpec, record: &Record| {
        let grant = Grant {
            access: spec.access.clone(),
            databases: spec.databases.clone(),
            keys: spec.keys.clone(),
            channels: spec.channels.clone(),
            prefix: spec.prefix.clone(),
            ..Grant::default()
        };
        // Unsound records were left out when they were read.
        let sha256 = record.sha256.parse().ok()?;
        let (created, expires) = (SystemTime::from(record.created).into(), record.expires.map(|time| SystemTime::from(time).into()));
        let (id, name) = (record.id.clone(), name.clone());
        Some(Key { id, name, sha256, owner: None, created, expires, disabled: false, grants: vec![grant] })
    };
    let all = keys.iter().flat_map(|(name, spec, records)| records.iter().filter_map(move |record| entry(name, spec, record)));
    let mut entries: Vec<Key> = all.collect();
    entries.sort_by(|a, b| (&a.name, a.created, &a.id).cmp(&(&b.name, b.created, &b.id)));
    // An id that somebody copied must not spoil the file for all.
    let mut ids = HashSet::new();
    entries.retain(|entry| ids.insert(entry.id.clone()));
    serde_yaml::to_string(&KeyFile { keys: entries }).expect("a file of keys is YAML")
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
        assert_eq!(KeyFile::read(&file).unwrap().keys.len(), 3, "gateways read it");
        let copied = ("shop/zebra".to_owned(), job.1.clone(), job.2.clone());
        assert_eq!(render(&[copied, job, web]), file, "an id is taken once");
        assert_eq!(render(&[]), "keys: []\n");
    }
}
