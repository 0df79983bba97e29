//! API keys. A key is made in steps, each of which finds what the one before left behind, so that a crash after any of them
//! loses nothing: a pending Secret with the token; its hash in the gateway's file; every ready pod has read that; the
//! application's Secret; the pending one goes. Hashes are read from annotations, never from what a Secret holds.

mod accept;
mod controller;
mod file;
mod plan;
mod registry;
mod secrets;
mod status;
mod unreadable;

pub(crate) use dbx_crds::api_key::file::revision;

pub(crate) use controller::{ApiKey, Worker, watch};
pub(crate) use registry::{Reach, Registry};

/// What metrics, logs and lists call keys.
pub(crate) const KIND: &str = "DbxApiKey";
