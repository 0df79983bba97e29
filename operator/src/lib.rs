//! The control plane as a library, for its binary and its tests. A gateway goes through pure steps between two that talk
//! to the cluster: resolve, validate, desired, apply, status.

pub mod app;
pub mod args;
pub mod check;
pub mod desired;
pub mod names;
pub mod reference;
pub mod render;
pub mod status;

mod apply;
mod children;
mod controller;
mod discovery;
mod events;
mod health;
mod keys;
mod lease;
mod listed;
mod memory;
mod metrics;
mod minted;
mod news;
mod pace;
mod pods;
mod probe;
mod prune;
mod queue;
mod resolve;
mod retry;
mod rollouts;
mod route;
mod scaling;
mod scope;
mod traces;
