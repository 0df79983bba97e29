//! The operator against a real API server: what it makes, keeps, repairs and refuses.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod broken;
mod clock;
mod cluster;
mod crashes;
mod definitions;
mod faults;
mod gateway;
mod handover;
mod keys;
mod lifecycle;
mod process;
mod proxy;
mod queue;
mod redis;
mod refusals;
mod rights;
mod roles;
mod rules;
mod server;
mod surroundings;
mod traces;
mod tug;
