//! The data plane: HTTP in front of databases. A request is read in [`http`], becomes a call of an [`operation`], is
//! encoded by it, carried by a [`backend`], and shaped by the operation again.

pub mod app;
pub mod auth;
pub mod backend;
pub mod cli;
pub mod config;
pub mod drain;
pub mod error;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod http;
pub mod listener;
pub mod log;
pub mod managed;
pub mod metrics;
pub mod operation;
pub mod peer;
pub mod probe;
pub mod rates;
pub mod record;
pub mod resp;
pub mod scripts;
pub mod shared;
pub mod tls;
pub mod worker;
