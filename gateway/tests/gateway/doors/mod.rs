//! The door of the data listener: what happens before anybody knows who calls.

mod crowds;
mod headers;
mod odd_requests;
mod origins;
mod proxies;
mod tls;
