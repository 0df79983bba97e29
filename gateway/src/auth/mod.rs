//! Who calls, and what each may do. An [`Identity`] is made once for a credential and shared by all its calls; its [`Rights`] are
//! compiled for each database, so that a call is judged by looking at what it needs and nothing else.

mod identity;
mod rights;

pub use identity::Identity;
pub use rights::{Rights, raw_names};
