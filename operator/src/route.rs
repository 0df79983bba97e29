//! What is said of the ways from outside: whether the Gateways that an HTTPRoute names have taken it.

use dbx_crds::gateway::{DbxGateway, Reason, State};
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

fn taken(parents: &[Value], gateway: &DbxGateway) -> Verdict {
    for parent in parents {
        let name = parent["parentRef"]["name"].as_str().unwrap_or_default();
        for condition in parent["conditions"].as_array().into_iter().flatten() {
            if matches!(condition["type"].as_str(), Some("Accepted" | "ResolvedRefs")) && condition["status"] == "False" {
                let message = condition["message"].as_str().unwrap_or_default();
                return (State::False, Reason::RouteNotAccepted, format!("Gateway {name}: {message}"));
            }
        }
    }
    let named = gateway.spec.http_route().into_iter().flat_map(|route| &route.parent_refs);
    let accepted = |name: &str| {
        parents.iter().filter(|parent| parent["parentRef"]["name"] == name).any(|parent| {
            let mut conditions = parent["conditions"].as_array().into_iter().flatten();
            conditions.any(|condition| condition["type"] == "Accepted" && condition["status"] == "True")
        })
    };
    match named.into_iter().find(|parent| !accepted(&parent.name)) {
        Some(parent) => {
            (State::Unknown, Reason::RouteNotObserved, format!("Gateway {} has not said that it takes the HTTPRoute", parent.name))
        }
        None => (State::True, Reason::Exposed, String::new()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_gateway_has_to_take_it() {
        let route = json!({ "parentRefs": [{ "name": "a" }, { "name": "b" }] });
        let spec = json!({ "config": {}, "expose": { "httpRoute": route } });
        let gateway = DbxGateway::new("g", serde_json::from_value(spec).unwrap());
        let parent = |name: &str, status: &str| {
            let accepted = json!({ "type": "Accepted", "status": status, "message": "no listener" });
            json!({ "parentRef": { "name": name }, "conditions": [accepted] })
        };
        let judge = |parents: &[Value]| taken(parents, &gateway);
        assert_eq!(judge(&[]).1, Reason::RouteNotObserved);
        assert_eq!(judge(&[parent("a", "True")]).2, "Gateway b has not said that it takes the HTTPRoute");
        assert_eq!(judge(&[parent("a", "True"), parent("b", "False")]).2, "Gateway b: no listener");
        assert_eq!(judge(&[parent("a", "True"), parent("b", "True")]).0, State::True);
    }
}
