//! Who calls, and what each may do. An [`Identity`] is made once for a credential and shared by all its calls; its [`Rights`] are
//! compiled for each database, so that a call is judged by looking at what it needs and nothing else.

mod book;
pub mod gate;
mod identity;
pub mod jwt;
mod proven;
mod rights;
mod roster;

pub use gate::Gate;
pub use identity::{ANONYMOUS, Identity, names};
pub use rights::{Rights, check_access, raw_names};
pub use roster::check;
