//! Keys by which applications call a gateway.

pub mod file;
mod time;
pub mod token;

pub use time::Time;
