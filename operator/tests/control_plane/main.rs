//! The operator against a real API server: what it makes, keeps, repairs and refuses.

mod cluster;
mod gateway;
mod lifecycle;
mod refusals;
mod rules;
