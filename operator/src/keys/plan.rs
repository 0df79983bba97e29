//! What has to be done for a key next: pure, from what its Secrets say and the time.

use std::time::Duration;

use dbx_crds::api_key::{DbxApiKey, ROTATE_AT};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::ObjectMeta, jiff::Timestamp};
use kube::ResourceExt;

use super::file::Record;
use crate::children::owner_uid;

/// The annotation of a Secret with what is known of the keys whose text it holds or held.
pub(super) const RECORDS: &str = "dbx.dev/keys";
/// The annotation of a Secret with where it sends its reader.
pub(super) const URL: &str = "dbx.dev/url";

/// What a Secret's metadata says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Absent,
    /// Somebody else's has the name.
    Foreign,
    Ours(Ours),
}

/// A Secret of the key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ours {
    pub(super) uid: String,
    /// Its keys, the newest first. Empty when the annotation cannot be read.
    pub(super) records: Vec<Record>,
    /// The wish for another key that was fulfilled with the newest.
    pub(super) rotated: Option<String>,
    pub(super) url: Option<String>,
}

impl Found {
    /// Reads what a Secret says of itself.
    pub(super) fn read(meta: Option<ObjectMeta>, key: &DbxApiKey) -> Self {
        let Some(meta) = meta else { return Self::Absent };
        if owner_uid(&meta) != key.uid().as_deref() {
            return Self::Foreign;
        }
        let annotation = |name: &str| meta.annotations.as_ref()?.get(name).cloned();
        let records: Option<Vec<Record>> = annotation(RECORDS).and_then(|text| serde_json::from_str(&text).ok());
        let records = records.unwrap_or_default().into_iter().filter(Record::is_sound).take(MOST).collect();
        let (rotated, url) = (annotation(ROTATE_AT), annotation(URL));
        Self::Ours(Ours { uid: meta.uid.unwrap_or_default(), records, rotated, url })
    }

    fn ours(&self) -> Option<&Ours> {
        match self {
            Self::Ours(ours) => Some(ours),
            _ => None,
        }
    }

    /// Its keys.
    pub(super) fn records(&self) -> &[Record] {
        self.ours().map_or(&[], |ours| &ours.records)
    }
}

/// What has to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A new key is needed: make its pending Secret.
    Mint,
    /// The pending Secret holds nothing of use: take it away.
    Discard,
    /// Once every ready pod takes the pending key, write these to the application's Secret.
    Deliver(Vec<Record>),
    /// The pending key was delivered: take its Secret away.
    Finish,
    /// Keys have expired: these are left.
    Drop(Vec<Record>),
    /// Nothing, until then.
    Rest(Option<Duration>),
}

/// What has to be done for a key.
pub(super) fn plan(key: &DbxApiKey, secret: &Found, pending: &Found, now: Timestamp) -> Step {
    let current = secret.records();
    if let Some(pending) = pending.ours() {
        let Some(new) = pending.records.first() else { return Step::Discard };
        if current.iter().any(|record| record.id == new.id) {
            return Step::Finish;
        }
        return Step::Deliver(after(key, new, current, now));
    }
    let Some(newest) = current.first() else { return Step::Mint };
    let due = key.spec.rotate_every.as_ref().map(|every| later(newest.created, every.value()));
    let wished = key.annotations().get(ROTATE_AT);
    if due.is_some_and(|due| due <= now) || wished.is_some() && wished != secret.ours().and_then(|ours| ours.rotated.as_ref()) {
        return Step::Mint;
    }
    let left: Vec<Record> = current.iter().filter(|record| is_taken(record, now)).cloned().collect();
    if left.len() < current.len() {
        return Step::Drop(left);
    }
    let next = current.iter().filter_map(|record| record.expires).chain(due).min();
    Step::Rest(next.map(|next| Duration::try_from(next.duration_since(now)).unwrap_or_default()))
}

/// The keys once a new one is delivered: those before end after the overlap.
fn after(key: &DbxApiKey, new: &Record, before: &[Record], now: Timestamp) -> Vec<Record> {
    let end = later(now, key.spec.overlap());
    let before = before.iter().filter(|record| is_taken(record, now)).cloned();
    let before = before.map(|record| Record { expires: Some(record.expires.map_or(end, |expires| expires.min(end))), ..record });
    std::iter::once(new.clone()).chain(before).take(MOST).collect()
}

/// Keys that are taken at once. More come about only by replacing one again and again within its overlap.
const MOST: usize = 8;

fn is_taken(record: &Record, now: Timestamp) -> bool {
    record.expires.is_none_or(|expires| expires > now)
}

/// Whole seconds, as they are written.
fn later(time: Timestamp, duration: Duration) -> Timestamp {
    time.checked_add(duration).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn time(minute: u32) -> Timestamp {
        format!("2026-11-25T03:{minute:02}:00Z").parse().unwrap()
    }

    fn key(spec: serde_json::Value, wish: Option<&str>) -> DbxApiKey {
        let mut whole = json!({ "gatewayRef": { "name": "a" }, "access": ["read"], "secretName": "s" });
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let annotations = json!({ ROTATE_AT: wish });
        let meta = json!({ "name": "k", "uid": "u", "annotations": if wish.is_some() { annotations } else { json!(null) } });
        serde_json::from_value(json!({ "metadata": meta, "spec": whole })).unwrap()
    }

    fn record(id: &str, created: u32, expires: Option<u32>) -> Record {
        Record { id: id.into(), sha256: String::new(), created: time(created), expires: expires.map(time) }
    }

    fn ours(records: &[Record], rotated: Option<&str>) -> Found {
        Found::Ours(Ours { records: records.to_vec(), rotated: rotated.map(str::to_owned), ..Ours::default() })
    }

    #[test]
    fn a_key_is_made_in_steps() {
        let key = key(json!({}), None);
        let new = record("n", 0, None);
        assert_eq!(plan(&key, &Found::Absent, &Found::Absent, time(0)), Step::Mint);
        let pending = ours(std::slice::from_ref(&new), None);
        assert_eq!(plan(&key, &Found::Absent, &pending, time(1)), Step::Deliver(vec![new.clone()]));
        assert_eq!(plan(&key, &pending, &pending, time(1)), Step::Finish);
        assert_eq!(plan(&key, &pending, &Found::Absent, time(1)), Step::Rest(None));
        assert_eq!(plan(&key, &ours(&[], None), &Found::Absent, time(1)), Step::Mint, "an annotation that was spoilt");
        assert_eq!(plan(&key, &pending, &ours(&[], None), time(1)), Step::Discard);
    }

    #[test]
    fn it_is_replaced_on_schedule_and_on_demand() {
        let scheduled = key(json!({ "rotateEvery": "10m", "overlap": "5m" }), None);
        let old = record("o", 0, None);
        let secret = ours(std::slice::from_ref(&old), None);
        assert_eq!(plan(&scheduled, &secret, &Found::Absent, time(4)), Step::Rest(Some(Duration::from_secs(360))));
        assert_eq!(plan(&scheduled, &secret, &Found::Absent, time(10)), Step::Mint);
        let new = record("n", 10, None);
        let replaced = vec![new.clone(), record("o", 0, Some(16))];
        assert_eq!(plan(&scheduled, &secret, &ours(std::slice::from_ref(&new), None), time(11)), Step::Deliver(replaced.clone()));
        let secret = ours(&replaced, None);
        assert_eq!(plan(&scheduled, &secret, &Found::Absent, time(12)), Step::Rest(Some(Duration::from_secs(240))));
        assert_eq!(plan(&scheduled, &secret, &Found::Absent, time(16)), Step::Drop(vec![new.clone()]));
        // Replaced again within the overlap, no key lives longer than was said first.
        let newer = record("m", 13, None);
        let thrice = vec![newer.clone(), record("n", 10, Some(18)), record("o", 0, Some(16))];
        assert_eq!(plan(&scheduled, &secret, &ours(&[newer], None), time(13)), Step::Deliver(thrice));

        let wished = key(json!({}), Some("now"));
        assert_eq!(plan(&wished, &ours(std::slice::from_ref(&old), None), &Found::Absent, time(1)), Step::Mint);
        assert_eq!(plan(&wished, &ours(&[old], Some("now")), &Found::Absent, time(1)), Step::Rest(None));
    }

    #[test]
    fn what_belongs_to_others_is_told() {
        let key = key(json!({}), None);
        let meta = |uid: &str| -> ObjectMeta {
            let owner = json!({ "apiVersion": "dbx.dev/v1alpha1", "kind": "DbxApiKey", "name": "k", "uid": uid, "controller": true });
            let sound = Record { id: "0".repeat(16), sha256: "0".repeat(64), ..record("", 0, None) };
            let records = json!([record("n", 0, None), sound]).to_string();
            serde_json::from_value(json!({ "uid": "s", "annotations": { RECORDS: records, URL: "u" }, "ownerReferences": [owner] }))
                .unwrap()
        };
        assert_eq!(Found::read(None, &key), Found::Absent);
        assert_eq!(Found::read(Some(ObjectMeta::default()), &key), Found::Foreign);
        assert_eq!(Found::read(Some(meta("other")), &key), Found::Foreign);
        let Found::Ours(ours) = Found::read(Some(meta("u")), &key) else { panic!("it is ours") };
        assert_eq!((ours.records.len(), ours.url.as_deref(), ours.uid.as_str()), (1, Some("u"), "s"));
    }
}
