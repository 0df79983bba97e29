use dbx_crds::gateway::{Condition, DbxGatewaySpec};
use serde_json::{Value, json};

use super::*;

fn gateway() -> DbxGateway {
    let spec: DbxGatewaySpec = serde_json::from_value(json!({
        "config": { "databases": [{ "name": "redis", "redis": { "managed": {} } }], "auth": { "mode": "none" } },
        "replicas": 2,
    }))
    .unwrap();
    let mut gateway = DbxGateway::new("cache", spec);
    gateway.metadata.namespace = Some("shop".into());
    gateway.metadata.generation = Some(3);
    gateway
}

fn deployment(status: Value) -> Deployment {
    serde_json::from_value(
        json!({ "metadata": { "generation": 5 }, "spec": { "replicas": 2, "selector": {}, "template": {} }, "status": status }),
    )
    .unwrap()
}

fn serving() -> Deployment {
    deployment(json!({ "observedGeneration": 5, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2, "readyReplicas": 2,
        "conditions": [{ "type": "Available", "status": "True" }, { "type": "Progressing", "status": "True" }] }))
}

fn observation(deployment: &Deployment) -> Observation<'_> {
    Observation {
        outcome: Outcome::Programmed,
        refs: Ok(()),
        deployment: Some(deployment),
        failure: None,
        databases: vec![DatabaseStatus { name: "redis".into(), kind: "redis".into(), reachable: true, message: None }],
        config_hash: Some("01234567".into()),
        version: Some("1.2.3".into()),
        exposed: None,
        waiting: None,
    }
}

fn time(text: &str) -> Time {
    serde_json::from_value(json!(text)).unwrap()
}

fn judge(seen: &Observation<'_>) -> DbxGatewayStatus {
    status(&gateway(), &DbxGatewayStatus::default(), seen, &time("2026-01-01T00:00:00Z"))
}

fn told(status: &DbxGatewayStatus, condition: Condition) -> (String, String, String) {
    let found = status.condition(condition).unwrap();
    (found.status.clone(), found.reason.clone(), found.message.clone())
}

#[test]
fn a_serving_gateway() {
    insta::assert_yaml_snapshot!(judge(&observation(&serving())));
}

#[test]
fn the_first_that_fails_makes_it_not_ready() {
    let deployment = serving();
    let ready = |change: &dyn Fn(&mut Observation<'_>)| {
        let mut seen = observation(&deployment);
        change(&mut seen);
        let (status, reason, _) = told(&judge(&seen), Condition::Ready);
        format!("{status} {reason}")
    };
    let finding = |reason| Finding::new(reason, "why");
    assert_eq!(ready(&|_| {}), "True Ready");
    assert_eq!(ready(&|seen| seen.databases.clear()), "True Ready");
    assert_eq!(ready(&|seen| seen.outcome = Outcome::Paused), "True Ready");
    assert_eq!(ready(&|seen| seen.databases[0].reachable = false), "False Unreachable");
    assert_eq!(ready(&|seen| seen.deployment = None), "False NotObserved");
    assert_eq!(ready(&|seen| seen.outcome = Outcome::Failed(finding(Reason::ApplyFailed))), "False ApplyFailed");
    assert_eq!(ready(&|seen| seen.refs = Err(finding(Reason::SecretNotFound))), "False SecretNotFound");
    assert_eq!(
        ready(&|seen| {
            seen.outcome = Outcome::Rejected(finding(Reason::InvalidConfig));
            seen.refs = Err(finding(Reason::SecretNotFound));
        }),
        "False InvalidConfig"
    );
}

#[test]
fn a_rollout_is_told_while_it_lasts() {
    let rolling = |reason: Option<&str>| {
        deployment(json!({ "observedGeneration": 5, "replicas": 3, "updatedReplicas": 1, "availableReplicas": 2, "readyReplicas": 2,
            "conditions": [{ "type": "Available", "status": "True" }, { "type": "Progressing", "status": "True", "reason": reason }] }))
    };
    let progressing = |deployment: &Deployment, failure: Option<&str>| {
        let seen = Observation { failure: failure.map(str::to_owned), ..observation(deployment) };
        let status = judge(&seen);
        assert_eq!(told(&status, Condition::Ready).0, "True", "the old pods serve");
        told(&status, Condition::Progressing)
    };
    let words = |status: &str, reason: &str, message: &str| (status.to_owned(), reason.to_owned(), message.to_owned());
    assert_eq!(progressing(&rolling(None), None), words("True", "RollingOut", "1 of 2 pods are of the current generation"));
    assert_eq!(progressing(&rolling(None), Some("pod a: no")), words("True", "PodFailing", "pod a: no"));
    let mut refused = rolling(None);
    let failure = json!({ "type": "ReplicaFailure", "status": "True", "message": "serviceaccount \"mine\" not found" });
    let conditions = refused.status.as_mut().unwrap().conditions.as_mut().unwrap();
    conditions.push(serde_json::from_value(failure).unwrap());
    assert_eq!(progressing(&refused, None), words("True", "PodFailing", "serviceaccount \"mine\" not found"));
    let late = rolling(Some("ProgressDeadlineExceeded"));
    assert_eq!(progressing(&late, Some("pod a: no")), words("False", "DeadlineExceeded", "new pods do not become ready; pod a: no"));
    let unseen =
        deployment(json!({ "observedGeneration": 4, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2, "readyReplicas": 2,
        "conditions": [{ "type": "Available", "status": "True" }] }));
    assert_eq!(progressing(&unseen, None).1, "RollingOut");
    assert_eq!(progressing(&serving(), None).1, "Complete");
}

#[test]
fn times_stay_unless_a_status_flips() {
    let deployment = serving();
    let seen = observation(&deployment);
    let first = judge(&seen);
    let again = status(&gateway(), &first, &seen, &time("2026-02-02T00:00:00Z"));
    assert_eq!(first, again);
    let mut broken = seen.clone();
    broken.databases[0].reachable = false;
    let later = status(&gateway(), &first, &broken, &time("2026-02-02T00:00:00Z"));
    let at = |condition| later.condition(condition).unwrap().last_transition_time.0.to_string();
    assert_eq!(at(Condition::Accepted), "2026-01-01T00:00:00Z");
    assert_eq!(at(Condition::BackendReachable), "2026-02-02T00:00:00Z");
    assert_eq!(at(Condition::Ready), "2026-02-02T00:00:00Z");
}

#[test]
fn a_way_from_outside_counts_when_it_is_asked_for() {
    let deployment = serving();
    let exposed = |state, reason| Observation { exposed: Some((state, reason, "m".into())), ..observation(&deployment) };
    assert!(judge(&observation(&deployment)).condition(Condition::Exposed).is_none());
    assert_eq!(told(&judge(&exposed(State::True, Reason::Exposed)), Condition::Ready).0, "True");
    let waiting = judge(&exposed(State::Unknown, Reason::RouteNotObserved));
    assert_eq!(told(&waiting, Condition::Ready), ("False".into(), "RouteNotObserved".into(), "m".into()));
}

#[test]
fn a_rejected_generation_keeps_what_was_applied() {
    let deployment = serving();
    let first = judge(&observation(&deployment));
    let rejected = Observation {
        outcome: Outcome::Rejected(Finding::new(Reason::InvalidConfig, "spec.config.hosts[0]: no")),
        config_hash: Some("76543210".into()),
        ..observation(&deployment)
    };
    let after = status(&gateway(), &first, &rejected, &time("2026-02-02T00:00:00Z"));
    assert_eq!(after.config_hash, first.config_hash);
    assert_eq!(told(&after, Condition::Programmed).1, "NotAccepted");
    assert_eq!(told(&after, Condition::Available).0, "True");
}

#[test]
fn every_reason_has_a_heading_in_the_troubleshooting_page() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/src/troubleshooting.md")).unwrap();
    let headings: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let reasons: Vec<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(headings, reasons, "one heading for each reason, in their order");
}
