//! Who calls: reads the credential of a request and finds whom it proves. A key is looked up at once; a token is verified, and
//! remembered for a moment.

use std::{
    path::Path,
    sync::{Arc, Weak},
    time::SystemTime,
};

use axum::http::{HeaderMap, HeaderValue, Uri, header, request::Parts};
use dbx_crds::{
    api_key::{
        file::{Fingerprint, State},
        token,
    },
    config::{AuthMode, GatewayConfig, SecretSource},
};
use serde_json::Value;
use tokio::{runtime::Handle, sync::watch};

use super::{
    Identity,
    book::{Book, Found},
    jwt::{Issuers, Proved},
    proven,
    roster::Roster,
};
use crate::{
    config::{
        follow::{LOOK, follow},
        secret,
    },
    error::{Code, Delivery, Error},
    peer::Peer,
};

/// The parameter of a query that may hold a credential.
const IN_QUERY: &str = "token";
/// What a subprotocol of a WebSocket begins with that is a credential: browsers can send no header.
const SUBPROTOCOL: &str = "dbx.bearer.";
/// The longest credential that is read.
const LONGEST: usize = 16 << 10;

/// A file of keys, which may change.
struct File {
    path: String,
    book: watch::Receiver<Arc<Book>>,
}

/// What all workers know of callers.
pub struct Gate {
    roster: Arc<Roster>,
    anonymous: Option<Arc<Identity>>,
    files: Vec<File>,
    issuers: Option<Arc<Issuers>>,
    by_certificate: bool,
    in_query: bool,
}

/// A credential, as a request or a socket brings it.
pub enum Credential<'a> {
    /// There is none.
    None,
    /// What follows `Bearer`.
    Bearer(&'a str),
    /// The name in a client certificate that was verified.
    Certificate(&'a str),
}

impl Gate {
    /// Reads the files of keys, and goes on to look at them. Runs on a runtime.
    ///
    /// Errors: what cannot be used, with the path of its setting.
    pub fn new(config: &GatewayConfig, secrets_dir: &Path) -> Result<Self, String> {
        let roster = Arc::new(Roster::new(config));
        let anonymous = roster.anonymous().map_err(|message| format!("auth.grants: {message}"))?;
        let file = |(index, source): (usize, &SecretSource)| {
            let setting = format!("auth.keysFrom[{index}]");
            let (roster, text) = (roster.clone(), secret::whole(source.clone(), secrets_dir));
            let book = follow(setting.clone(), vec![text], move |found, before: Option<&Book>| Book::read(&found[0], &roster, before));
            Ok(File { path: secret::place(source, secrets_dir), book: book.map_err(|message| format!("{setting}: {message}"))? })
        };
        let auth = &config.auth;
        let issuers = match &auth.jwt[..] {
            [] => None,
            issuers => Some(Arc::new(Issuers::new(issuers, secrets_dir, &Handle::current())?)),
        };
        if let Some(issuers) = issuers.as_ref().filter(|_| auth.jwt.iter().any(|issuer| issuer.jwks_from.is_some())) {
            tokio::spawn(reload(Arc::downgrade(issuers)));
        }
        Ok(Self {
            issuers,
            files: auth.keys_from.iter().enumerate().map(file).collect::<Result<_, String>>()?,
            anonymous: (auth.mode != Some(AuthMode::Required)).then_some(anonymous),
            by_certificate: config.listen.tls.as_ref().is_some_and(|tls| tls.client_ca_from.is_some()),
            in_query: auth.token_in_query.unwrap_or_default(),
            roster,
        })
    }

    /// Whether who shows no credential is turned away.
    pub fn is_closed(&self) -> bool {
        self.anonymous.is_none()
    }

    /// What is known of every key but its text and its hash.
    pub fn keys(&self) -> Vec<Value> {
        let now = SystemTime::now();
        self.files.iter().flat_map(|file| file.book.borrow().list(now)).collect()
    }

    /// For each file of keys where it is and which revision of it is in use.
    pub fn files(&self) -> impl Iterator<Item = (&str, String)> {
        self.files.iter().map(|file| (file.path.as_str(), file.book.borrow().revision.clone()))
    }

    /// Makes a credential in the query one in the header, if that is allowed: nobody else gets to see it.
    pub fn take_from_query(&self, parts: &mut Parts) {
        if !self.in_query {
            return;
        }
        let Some((path, query)) = parts.uri.path_and_query().and_then(|target| target.as_str().split_once('?')) else { return };
        let (tokens, rest): (Vec<_>, Vec<_>) = query.split('&').partition(|pair| value(pair).is_some());
        let [token] = tokens[..] else { return };
        let token = percent_encoding::percent_decode_str(value(token).unwrap_or_default()).decode_utf8_lossy().into_owned();
        let target = if rest.is_empty() { path.to_owned() } else { format!("{path}?{}", rest.join("&")) };
        let header = HeaderValue::try_from(format!("Bearer {token}"));
        if let (Ok(uri), Ok(mut header)) = (Uri::try_from(target), header) {
            parts.uri = uri;
            header.set_sensitive(true);
            parts.headers.append(header::AUTHORIZATION, header);
        }
    }

    /// The credential of a request: the header `Authorization`, else a subprotocol of a WebSocket, else the client certificate.
    ///
    /// Errors: `unauthenticated`.
    pub fn credential<'a>(&self, parts: &'a Parts) -> Result<Credential<'a>, Error> {
        // Where nothing is configured that it could be judged by, one means nothing: clients of other gateways always send one.
        if (!self.files.is_empty() || self.issuers.is_some() || self.is_closed())
            && let Some(text) = bearer(&parts.headers)?
        {
            return Ok(Credential::Bearer(text));
        }
        if self.by_certificate
            && let Some(name) = parts.extensions.get::<Peer>().and_then(|peer| peer.certificate.as_deref())
        {
            return Ok(Credential::Certificate(name));
        }
        Ok(Credential::None)
    }

    /// Whom a credential proves.
    ///
    /// Errors: `unauthenticated`; `forbidden` when what the caller was granted does not go together.
    pub async fn identify(&self, credential: &Credential<'_>) -> Result<Arc<Identity>, Error> {
        match credential {
            Credential::None => self.anonymous.clone().ok_or_else(|| {
                Error::new(Code::Unauthenticated, "no credential was shown; send `Authorization: Bearer` and a key or a token")
            }),
            Credential::Certificate(name) => {
                let name = format!("certificate:{name}");
                proven::remembered(&name, async || self.known(name.clone(), Vec::new(), None)).await
            }
            Credential::Bearer(text) => match &self.issuers {
                Some(issuers) if !text.starts_with(token::PREFIX) => {
                    Box::pin(proven::remembered(text, async || self.verified(issuers, text).await)).await
                }
                _ => self.key(text),
            },
        }
    }

    async fn verified(&self, issuers: &Issuers, token: &str) -> Result<Arc<Identity>, Error> {
        match issuers.verify(token).await {
            Ok(Proved { name, groups, until }) => self.known(name, groups, Some(until)),
            Err(refusal) if refusal.is_temporary() => Err(Error::backend(Code::Unavailable, refusal.to_string(), Delivery::NotSent, true)),
            Err(refusal) => Err(Error::new(Code::Unauthenticated, refusal.to_string()).param("Authorization")),
        }
    }

    fn known(&self, name: String, groups: Vec<String>, until: Option<SystemTime>) -> Result<Arc<Identity>, Error> {
        self.roster
            .identity(name, groups, until, &[])
            .map_err(|message| Error::new(Code::Forbidden, format!("what the caller was granted does not go together: {message}")))
    }

    fn key(&self, text: &str) -> Result<Arc<Identity>, Error> {
        let Some(id) = text.strip_prefix(token::PREFIX).and_then(|rest| rest.get(..token::ID_LENGTH)).filter(|_| text.len() <= LONGEST)
        else {
            return Err(refused("it is neither a key nor a token"));
        };
        let (shown, now) = (Fingerprint::of(text), SystemTime::now());
        let mut found = None;
        for file in &self.files {
            let here = file.book.borrow().find(id, &shown, now);
            found = found.or(here);
        }
        match found {
            Some(Found::Caller(identity)) => Ok(identity),
            Some(Found::Refused(State::Disabled)) => Err(refused("the key is disabled")),
            Some(Found::Refused(_)) => Err(refused("the key has expired")),
            None if token::parse(text).is_none() => Err(refused("the key is mistyped or cut: its checksum is wrong")),
            None => Err(refused("the key is not known")),
        }
    }
}

/// The value of a pair of a query that is a credential.
fn value(pair: &str) -> Option<&str> {
    pair.strip_prefix(IN_QUERY)?.strip_prefix('=')
}

/// Looks at the keys of issuers that are in files, as long as somebody uses them.
async fn reload(issuers: Weak<Issuers>) {
    let mut told = String::new();
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(issuers) = issuers.upgrade() else { return };
        let mistake = issuers.reload().err().unwrap_or_default();
        if mistake != told && !mistake.is_empty() {
            tracing::warn!("new files cannot be used, the old ones stay in use: {mistake}");
        }
        told = mistake;
    }
}

/// The credential in `Authorization`, or among the subprotocols of a socket.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Error> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    match (given.next(), given.next()) {
        (Some(value), None) => {
            let parts = value.to_str().ok().and_then(|text| text.split_once(' '));
            let bearer = parts.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, text)| text.trim());
            bearer.map(Some).ok_or_else(|| refused("expected `Bearer` and a key or a token"))
        }
        (Some(_), Some(_)) => Err(refused("a request has one `Authorization`")),
        (None, _) => Ok(offered(headers)),
    }
}

/// The credential among the subprotocols that the client of a WebSocket offers.
fn offered(headers: &HeaderMap) -> Option<&str> {
    subprotocols(headers).find_map(|name| name.strip_prefix(SUBPROTOCOL))
}

/// The subprotocols that the client of a WebSocket offers.
pub fn subprotocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lists = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(str::trim)
}

fn refused(detail: &'static str) -> Error {
    Error::new(Code::Unauthenticated, detail).param("Authorization")
}
