//! The data plane: HTTP in front of databases. A request is read in [`http`], becomes a call of an [`operation`], is
//! encoded by it, carried by a [`backend`], and shaped by the operation again.

pub mod error;
pub mod resp;
