//! What is said of the ways from outside: whether the Gateways that an HTTPRoute names have taken it.

use dbx_crds::gateway::{DbxGateway, ParentRef, Reason, State};
use kube::{Api, Client, ResourceExt, api::DynamicObject};
use serde_json::Value;

use crate::{
    children::resource,
    desired::{Apis, Kind},
};

/// A condition's status, reason and message.
pub(crate) type Verdict = (State, Reason, String);

/// Whether a gateway is reached from outside; nothing when it is not to be.
pub(crate) async fn exposed(client: &Client, gateway: &DbxGateway, apis: &Apis, applied: bool) -> kube::Result<Option<Verdict>> {
    if gateway.spec.expose.is_none() {
        return Ok(None);
    }
    if !applied {
        return Ok(Some((State::Unknown, Reason::NotObserved, "not every object was applied".into())));
    }
    if gateway.spec.http_route().is_some() {
        if !apis.kinds.contains(&Kind::HttpRoute) {
            return Ok(Some((State::False, Reason::ApiMissing, missing("spec.expose.httpRoute", Kind::HttpRoute))));
        }
        let api: Api<DynamicObject> =
            Api::namespaced_with(client.clone(), &gateway.namespace().unwrap_or_default(), &resource(Kind::HttpRoute));
        let route = api.get_opt(&gateway.name_any()).await?;
        let parents = route.map(|route| route.data["status"]["parents"].clone()).unwrap_or_default();
        let (state, reason, message) = taken(parents.as_array().map_or(&[], Vec::as_slice), gateway);
        if state != State::True {
            return Ok(Some((state, reason, message)));
        }
    }
    let ways = [("the Ingress exists", gateway.spec.ingress().is_some()), ("the HTTPRoute is taken", gateway.spec.http_route().is_some())];
    let told: Vec<&str> = ways.into_iter().filter(|(_, asked)| *asked).map(|(what, _)| what).collect();
    Ok(Some((State::True, Reason::Exposed, told.join(", "))))
}

/// What is said about an API that the cluster does not have.
pub(crate) fn missing(path: &str, kind: Kind) -> String {
    format!("{path}: the cluster has no {} {}; once it is installed it is used within a minute", kind.api_version(), kind.name())
}

/// What the Gateways say that are named now; others may have been named before.
fn taken(parents: &[Value], gateway: &DbxGateway) -> Verdict {
    let own = gateway.namespace().unwrap_or_default();
    let said = |named: &ParentRef| {
        let is_it = |parent: &Value| {
            let found = &parent["parentRef"];
            found["name"] == named.name.as_str()
                && found["namespace"].as_str().unwrap_or(&own) == named.namespace.as_deref().unwrap_or(&own)
                && found["sectionName"].as_str() == named.section_name.as_deref()
                && found["port"].as_i64() == named.port.map(i64::from)
        };
        let conditions = parents.iter().filter(move |parent| is_it(parent)).filter_map(|parent| parent["conditions"].as_array());
        conditions.flatten().collect::<Vec<_>>()
    };
    let name = |named: &ParentRef| match &named.namespace {
        Some(namespace) => format!("Gateway {namespace}/{}", named.name),
        None => format!("Gateway {}", named.name),
    };
    let all: Vec<_> =
        gateway.spec.http_route().into_iter().flat_map(|route| &route.parent_refs).map(|named| (named, said(named))).collect();
    for (named, conditions) in &all {
        let refused =
            |condition: &&&Value| matches!(condition["type"].as_str(), Some("Accepted" | "ResolvedRefs")) && condition["status"] == "False";
        if let Some(condition) = conditions.iter().find(refused) {
            let message = condition["message"].as_str().unwrap_or_default();
            return (State::False, Reason::RouteNotAccepted, format!("{}: {message}", name(named)));
        }
    }
    let accepts = |condition: &&Value| condition["type"] == "Accepted" && condition["status"] == "True";
    match all.iter().find(|(_, conditions)| !conditions.iter().any(accepts)) {
        Some((named, _)) => (State::Unknown, Reason::RouteNotObserved, format!("{} has not said that it takes the HTTPRoute", name(named))),
        None => (State::True, Reason::Exposed, String::new()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_gateway_has_to_take_it() {
        let route = json!({ "parentRefs": [{ "name": "a" }, { "name": "b", "namespace": "edge" }] });
        let spec = json!({ "config": {}, "expose": { "httpRoute": route } });
        let mut gateway = DbxGateway::new("g", serde_json::from_value(spec).unwrap());
        gateway.metadata.namespace = Some("shop".into());
        let parent = |name: &str, namespace: &str, status: &str| {
            let accepted = json!({ "type": "Accepted", "status": status, "message": "no listener" });
            json!({ "parentRef": { "name": name, "namespace": namespace }, "conditions": [accepted] })
        };
        let judge = |parents: &[Value]| taken(parents, &gateway);
        assert_eq!(judge(&[]).1, Reason::RouteNotObserved);
        let unheard = "Gateway edge/b has not said that it takes the HTTPRoute";
        assert_eq!(judge(&[parent("a", "shop", "True")]).2, unheard);
        assert_eq!(judge(&[parent("a", "shop", "True"), parent("b", "shop", "True")]).2, unheard, "another one of that name");
        assert_eq!(judge(&[parent("a", "shop", "True"), parent("b", "edge", "False")]).2, "Gateway edge/b: no listener");
        assert_eq!(judge(&[parent("a", "shop", "True"), parent("b", "edge", "True")]).0, State::True);
        let before = [parent("a", "shop", "True"), parent("b", "edge", "True"), parent("gone", "shop", "False")];
        assert_eq!(judge(&before).0, State::True, "one that is not named any more");
    }
}
