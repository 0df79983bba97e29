//! The gateway as its clients meet it: the real binary, over real HTTP, before a real Redis.

#![expect(unreachable_pub, reason = "the modules of a test are its own")]
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "helpers fail the test that calls them, and figures are for the reader")]

mod administration;
mod bad_input;
mod browser;
mod calls;
mod channels;
mod collections;
mod compression;
mod conformance;
mod credentials;
mod databases;
mod documentation;
mod doors;
mod drain;
#[path = "../commands/family.rs"]
mod family;
mod faults;
mod flows;
mod grants;
mod idempotency;
mod large;
mod limits;
mod metrics;
mod mutations;
mod paths;
mod properties;
mod rates;
mod recipes;
mod records;
#[path = "../commands/refused.rs"]
mod refused;
mod resources;
mod scripts;
mod secrets;
mod sockets;
mod subscriptions;
mod support;
mod topology;
mod transactions;
mod versions;
mod waiting;
