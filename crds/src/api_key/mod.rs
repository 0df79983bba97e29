//! Keys by which applications call a gateway.

pub mod token;
