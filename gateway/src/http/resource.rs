//! Calls as resources: the routes of the operation table, matched on the raw path. The four projections own what a
//! resource adds to a call: 404, paging, a value's bytes.

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod paths;

use std::{borrow::Cow, collections::BTreeSet};

use axum::{
    body::{Body, Bytes},
    http::{self, Response, header},
};
use paths::{Resource, Segment, find};
pub(super) use paths::{begins, exists, takes};
use tokio::time::Instant;

use super::{
    Incoming, bytes,
    call::{self, InFlight},
    method_not_allowed, only_post,
    options::Options,
    precondition::{self, Place, Preconditions},
    request,
    request::{Media, Query},
    respond, unknown_operation,
    version::Version,
};
use crate::{
    backend::Replies,
    error::{Code, Error},
    operation::{
        self, Id,
        arguments::{Arguments, Given},
        param::Param,
        route::{CONDITIONS, Choice, Method, Projection, Route},
    },
    record::Trail,
};

/// The query parameter that gives a key as base64: for keys that no path can hold.
pub(super) const KEY_BASE64: &str = "keyBase64";

/// Answers a request for a resource.
pub(super) async fn answer(incoming: Incoming<'_>, path: &str, body: Body) -> Result<Response<Body>, Error> {
    let mut query = request::query(&incoming.parts.uri)?;
    let key = query.iter().position(|(name, _)| name == KEY_BASE64).map(|at| query.remove(at).1);
    let Some((resource, variables)) = find(path, key.is_some()) else { return nowhere(path, &incoming.parts.method) };
    let method = match incoming.parts.method {
        http::Method::GET | http::Method::HEAD => Method::Get,
        http::Method::PUT => Method::Put,
        http::Method::PATCH => Method::Patch,
        http::Method::POST => Method::Post,
        http::Method::DELETE => Method::Delete,
        http::Method::OPTIONS => return Ok(respond::options(&allow(resource))),
        _ => return Err(method_not_allowed(allow(resource))),
    };
    let routes: Vec<(Id, &'static Route)> = resource.routes.iter().filter(|(_, route)| route.method == method).copied().collect();
    if routes.is_empty() {
        return Err(method_not_allowed(allow(resource)));
    }
    let options = Options::take(&incoming.database.room, &incoming.parts.headers, &mut query)?;
    let has_body = matches!(method, Method::Put | Method::Patch | Method::Post);
    let media = if has_body { request::content_type(&incoming.parts.headers)? } else { Media::Json };
    let body = if has_body { incoming.body(body).await? } else { Bytes::new() };
    let read = Read { path: variables, key: key.as_deref(), query, media, body: &body };
    if matches!(routes[0].1.choice, Choice::Part(_)) {
        Box::pin(parts(incoming, &routes, &read, &options)).await
    } else {
        one(incoming, resource, &routes, &read, &options).await
    }
}

fn nowhere(path: &str, method: &http::Method) -> Result<Response<Body>, Error> {
    // A single word that is no resource is meant as an operation's name, which only POST calls.
    match path.contains('/') {
        false if operation::find(path).is_some() => only_post(method),
        false => Err(unknown_operation()),
        true => Err(Error::new(Code::RouteNotFound, "there is nothing at this path; `/openapi.json` lists what there is")),
    }
}

fn allow(resource: &Resource) -> String {
    let mut methods: BTreeSet<&str> = resource.routes.iter().map(|(_, route)| route.method.name()).collect();
    methods.insert("OPTIONS");
    if methods.contains("GET") {
        methods.insert("HEAD");
    }
    if let [Segment::Word(word)] = resource.segments[..]
        && operation::find(word).is_some()
    {
        methods.insert("POST");
    }
    methods.into_iter().collect::<Vec<_>>().join(", ")
}

/// A request, read and not yet understood as arguments.
struct Read<'a> {
    path: Vec<(&'static str, &'a str)>,
    key: Option<&'a str>,
    query: Query<'a>,
    media: Media,
    body: &'a [u8],
}

impl Read<'_> {
    /// The arguments for one of the resource's operations.
    fn arguments(&self, id: Id) -> Result<Arguments<'_>, Error> {
        let params = id.operation().params;
        // A variable or query parameter in the singular is one element of the list of that name.
        let full = |name: &str| params.iter().find(|param| param.answers_to(name)).map(|param| param.name);
        let mut given = match self.media {
            Media::Json => Arguments::from_json(self.body)?,
            Media::Bytes => Arguments::default(),
        };
        // A part in the path makes an element of what repeats; the other parts stand beside the arguments.
        let mut element = Arguments::default();
        let gathered = params.iter().find(|param| self.path.iter().any(|(name, _)| param.gathers(name)));
        let parts = gathered.map(Param::parts).unwrap_or_default();
        if self.media == Media::Bytes {
            let value = full("value").or_else(|| parts.iter().copied().find(|part| *part == "value")).ok_or_else(|| {
                Error::new(Code::UnsupportedMediaType, "there is no value here that could be sent as it is").param("Content-Type")
            })?;
            given.push(value, Given::Bytes(Cow::Borrowed(self.body)));
        }
        self.place(&full, gathered, &mut given, &mut element)?;
        for (name, value) in &self.query {
            given.push(full(name).unwrap_or(name), Given::Text(Cow::Borrowed(value)));
        }
        if let Some(param) = gathered {
            for part in parts {
                if let Some(value) = given.remove(part) {
                    element.push(part, value);
                }
            }
            given.push(param.name, Given::Element(Box::new(element)));
        }
        Ok(given)
    }

    /// The arguments that stand in the path; parts of what repeats go to the element.
    fn place<'r>(
        &'r self,
        full: &impl Fn(&str) -> Option<&'static str>,
        gathered: Option<&'static Param>,
        given: &mut Arguments<'r>,
        element: &mut Arguments<'r>,
    ) -> Result<(), Error> {
        for (name, raw) in &self.path {
            let value = request::decode(raw)?;
            if matches!(&*value, b"." | b"..") {
                return Err(Error::new(
                    Code::InvalidArgument,
                    "paths cannot hold `.` and `..`; give this key as keyBase64, or call by name",
                )
                .param(*name));
            }
            match gathered {
                Some(param) if param.gathers(name) => element.push(*name, Given::Bytes(value)),
                _ => given.push(full(name).unwrap_or(name), Given::Bytes(value)),
            }
        }
        if let Some(key) = self.key {
            given.push(full("key").unwrap_or("key"), Given::Bytes(request::base64(key, KEY_BASE64)?.into()));
        }
        Ok(())
    }

    /// The single value at this place, which a change may depend on.
    fn value(&self, resource: &Resource) -> Result<Option<Place<'_>>, Error> {
        let Some(read) = resource.value() else { return Ok(None) };
        let params = read.operation().params;
        let full = |name: &str| params.iter().find(|param| param.answers_to(name)).map(|param| param.name);
        let mut arguments = Arguments::default();
        self.place(&full, None, &mut arguments, &mut Arguments::default())?;
        Ok(matches!(arguments.get("key"), Some(Given::Bytes(_))).then_some(Place { read, arguments }))
    }

    /// Which of the operations is meant, and its arguments.
    fn choose(&self, routes: &[(Id, &'static Route)]) -> Result<(Id, &'static Route, Arguments<'_>), Error> {
        for (id, route) in routes {
            match route.choice {
                Choice::Only | Choice::Else | Choice::Part(_) => return Ok((*id, route, self.arguments(*id)?)),
                Choice::When(name) => {
                    let given = self.arguments(*id)?;
                    if given.get(name).is_some() {
                        return Ok((*id, route, given));
                    }
                }
                Choice::Word(word) => {
                    let mut given = self.arguments(*id)?;
                    if given.is_true(word) {
                        given.remove(word);
                        return Ok((*id, route, given));
                    }
                }
            }
        }
        let names: Vec<&str> = routes
            .iter()
            .filter_map(|(_, route)| if let Choice::When(name) | Choice::Word(name) = route.choice { Some(name) } else { None })
            .collect();
        Err(Error::new(Code::MissingArgument, format!("say what to do by one of: {}", names.join(", "))))
    }
}

/// A resource that is one call.
async fn one(
    incoming: Incoming<'_>,
    resource: &Resource,
    routes: &[(Id, &'static Route)],
    read: &Read<'_>,
    options: &Options,
) -> Result<Response<Body>, Error> {
    let preconditions = Preconditions::of(&incoming.parts.headers)?;
    let (id, route, given) = read.choose(routes)?;
    let absent = given.is_true("nx");
    let conditional = CONDITIONS.0.iter().any(|flag| given.is_true(flag)) || CONDITIONS.1.iter().any(|name| given.get(name).is_some());
    let is_value = route.method == Method::Get && route.projection == Projection::Value;
    let stored = if route.method == Method::Put && resource.value().is_some() { Version::stored(&given, options) } else { None };
    if is_value
        && options.accept == Media::Bytes
        && let Some(parts) = bytes::parts(id)
        && let Some(place) = read.value(resource)?
        && given.len() == place.arguments.len()
    {
        // Boxed, as all that is rarer than what is below: what a request takes at most is moved with every request.
        return Box::pin(bytes::read(incoming, place, parts, options, &preconditions)).await;
    }
    let done = if is_value || preconditions.is_empty() {
        let done = call::run(incoming.scope(), id, Ok(given), options).await?;
        found(&done, route, absent, conditional)?;
        if is_value {
            return precondition::read(incoming, &done, options, &preconditions).await;
        }
        done
    } else {
        let Some(place) = read.value(resource)? else { return Err(precondition::no_version(&preconditions)) };
        let done = Box::pin(precondition::change(incoming, place, preconditions, id, &given, options)).await?;
        found(&done, route, absent, conditional)?;
        done
    };
    let mut response = incoming.result(&done, options).await?;
    // A value before it, where that is the reply, does not say whether another was stored.
    if let Some(version) = stored.filter(|_| matches!(done.frame.first(), Some(b'+' | b':'))) {
        response.headers_mut().insert(header::ETAG, version.tag(options));
    }
    Ok(response)
}

/// Refuses a reply that says that there is nothing, or that a condition does not hold.
fn found(done: &call::Done, route: &Route, absent: bool, conditional: bool) -> Result<(), Error> {
    // A count of none, or nothing in it. What is put cannot be missing.
    let none = route.projection == Projection::Item && route.method != Method::Put && matches!(&*done.frame, b":0\r\n" | b"*0\r\n");
    let nothing = done.is_null() || none;
    // A change that answers with the value before it has none to answer with when it is the first, and `nx` holds.
    let first = done.plan.reads && done.plan.shape.is_bytes() && (absent || !conditional);
    if nothing && !first && route.projection != Projection::Collection {
        // A condition that does not hold and a key that does not exist look the same in the reply.
        let code = if conditional { Code::PreconditionFailed } else { Code::KeyNotFound };
        return Err(Error::new(code, code.title()));
    }
    Ok(())
}

/// A resource that several operations describe together: one object, made in one round trip.
async fn parts(
    incoming: Incoming<'_>,
    routes: &[(Id, &'static Route)],
    read: &Read<'_>,
    options: &Options,
) -> Result<Response<Body>, Error> {
    let scope = incoming.scope();
    if options.accept == Media::Bytes {
        return Err(call::no_bytes());
    }
    let started = Instant::now();
    let routes: Vec<_> = routes.iter().filter(|(id, _)| incoming.database.backend.supports(*id)).collect();
    let _in_flight = InFlight::enter(scope, &*incoming.database.room, routes.len(), Some(started))?;
    let (mut plans, mut trails) = (Vec::with_capacity(routes.len()), Vec::with_capacity(routes.len()));
    let sent = call::with_scratch(|scratch| {
        for (id, _) in &routes {
            options.check_place(Some(*id))?;
            let (plan, trail) = options.encode(scope, *id, &read.arguments(*id)?, scratch)?;
            plans.push(plan);
            trails.push(trail);
        }
        let replies: Replies = routes.iter().map(|(id, _)| !id.operation().changes()).collect();
        Ok(options.submit(incoming.database, scratch, replies))
    });
    let sent = match sent {
        Ok(sent) => sent,
        Err(error) => {
            // One that is refused is the end of all, and nothing is said against the others.
            trails.into_iter().for_each(Trail::forget);
            return Err(error);
        }
    };
    let answered = match sent {
        Ok(sent) => sent.replies(incoming.database, started + options.timeout).await,
        Err(failure) => Err(failure),
    };
    let answered = answered.map_err(|failure| failure.error(true));
    let mut rest = answered.as_ref().map_or(&[][..], |frames| &frames[..]);
    for trail in trails {
        let code = answered.as_ref().err().map(|error| error.code);
        trail.end(code.or_else(|| crate::error::code_of(call::next_reply(&mut rest).unwrap_or_default())));
    }
    let frames = answered?;
    let mut rest = &frames[..];
    let mut out = b"{\"result\":{".to_vec();
    for ((id, route), plan) in routes.iter().zip(&plans) {
        let frame = call::next_reply(&mut rest)?;
        let hidden = (!scope.rights().sees_all()).then(|| scope.seen(Some(*id), Bytes::copy_from_slice(frame)));
        let frame = hidden.as_deref().unwrap_or(frame);
        incoming.worker.counters.record(*id, crate::error::code_of(frame), started.elapsed());
        let Choice::Part(name) = route.choice else { continue };
        // What is said of no key: a type `none`, a time to live of -2, or null.
        if matches!(frame, b"+none\r\n" | b"$-1\r\n" | b":-2\r\n") {
            return Err(Error::new(Code::KeyNotFound, Code::KeyNotFound.title()));
        }
        let mut rendered = Vec::new();
        match id.operation().render(plan, frame, &options.format(), &mut rendered) {
            Ok(()) => {}
            Err(error) if error.code == Code::WrongType => return Err(error),
            Err(_) => rendered.extend_from_slice(b"{\"result\":null}"),
        }
        if out.last() != Some(&b'{') {
            out.push(b',');
        }
        out.extend_from_slice(format!("\"{name}\":").as_bytes());
        // The part's own object is `{"result":…}`: what is between is the part.
        out.extend_from_slice(rendered.strip_prefix(b"{\"result\":").and_then(|part| part.strip_suffix(b"}")).unwrap_or(b"null"));
    }
    out.extend_from_slice(b"}}");
    Ok(respond::json(out))
}
