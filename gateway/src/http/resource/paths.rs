//! Finds resources by their paths.

use std::{collections::HashMap, sync::OnceLock};

use axum::http;

use crate::operation::{
    self, Id,
    route::{Choice, Method, Projection, Route},
};

/// All routes of one path.
pub(super) struct Resource {
    pub(super) segments: Vec<Segment>,
    pub(super) routes: Vec<(Id, &'static Route)>,
}

impl Resource {
    /// What reads the single value that is there, if one is.
    pub(super) fn value(&self) -> Option<Id> {
        let reads = |(_, route): &&(Id, &'static Route)| route.method == Method::Get && route.projection == Projection::Value;
        self.routes.iter().find(reads).map(|(id, _)| *id)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Segment {
    Word(&'static str),
    Variable(&'static str),
}

/// All resources by the word that they begin with, so that finding one does not take longer the more there are.
fn resources() -> &'static HashMap<&'static str, Vec<Resource>> {
    static RESOURCES: OnceLock<HashMap<&'static str, Vec<Resource>>> = OnceLock::new();
    RESOURCES.get_or_init(|| {
        let mut all: HashMap<&'static str, Vec<Resource>> = HashMap::new();
        for id in operation::ids() {
            for route in id.operation().routes {
                let segments: Vec<Segment> = route.template[1..].split('/').map(segment).collect();
                let Segment::Word(first) = segments[0] else { unreachable!("a template begins with a word") };
                let resources = all.entry(first).or_default();
                // Two operations may call the same variable `key` and `keys`; the place is the same.
                match resources.iter_mut().find(|resource| same_path(&resource.segments, &segments)) {
                    Some(resource) => resource.routes.push((id, route)),
                    None => resources.push(Resource { segments, routes: vec![(id, route)] }),
                }
            }
        }
        for resource in all.values_mut().flatten() {
            resource.routes.sort_by_key(|(_, route)| route.choice == Choice::Else);
        }
        all
    })
}

fn segment(text: &'static str) -> Segment {
    match text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
        Some(name) => Segment::Variable(name),
        None => Segment::Word(text),
    }
}

fn same_path(left: &[Segment], right: &[Segment]) -> bool {
    let same = |(left, right): (&Segment, &Segment)| match (left, right) {
        (Segment::Word(left), Segment::Word(right)) => left == right,
        (Segment::Variable(_), Segment::Variable(_)) => true,
        _ => false,
    };
    left.len() == right.len() && left.iter().zip(right).all(same)
}

/// Whether there is a resource at a path.
pub(in crate::http) fn exists(path: &str) -> bool {
    find(path, false).is_some() || find(path, true).is_some()
}

/// Whether there is a resource at a path that has a method.
pub(in crate::http) fn takes(path: &str, method: &http::Method) -> bool {
    let has = |found: Option<(&Resource, _)>| {
        found.is_some_and(|(of, _): (_, Vec<_>)| of.routes.iter().any(|(_, route)| *method == route.method.name()))
    };
    has(find(path, false)) || has(find(path, true))
}

/// Whether resources begin with a word.
pub(in crate::http) fn begins(word: &str) -> bool {
    resources().contains_key(word)
}

/// The resource at a path and the raw text of its variables. With a key from elsewhere, the key's place is empty or, at
/// the end, missing.
pub(super) fn find(path: &str, key_from_query: bool) -> Option<(&'static Resource, Vec<(&'static str, &str)>)> {
    let parts: Vec<&str> = path.split('/').collect();
    resources().get(parts[0])?.iter().find_map(|resource| {
        let mut variables = Vec::new();
        let missing =
            key_from_query && parts.len() + 1 == resource.segments.len() && resource.segments.last() == Some(&Segment::Variable("key"));
        if parts.len() != resource.segments.len() && !missing {
            return None;
        }
        let mut has_key = false;
        for (segment, part) in resource.segments.iter().zip(parts.iter().copied().chain([""])) {
            match segment {
                Segment::Word(word) if *word == part => {}
                Segment::Word(_) => return None,
                Segment::Variable("key") if key_from_query && part.is_empty() => has_key = true,
                Segment::Variable(name) if !part.is_empty() => variables.push((*name, part)),
                Segment::Variable(_) => return None,
            }
        }
        (has_key == key_from_query).then_some((resource, variables))
    })
}
