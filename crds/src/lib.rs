//! The contract that both sides of DBX share: the gateway's configuration and, with the feature `kube`, the custom
//! resources that carry it. A limit, a default or a name of the configuration stands here and nowhere else.

pub mod api_key;
pub mod config;
#[cfg(feature = "kube")]
pub mod gateway;
pub mod reference;
#[cfg(feature = "kube")]
pub mod schema;
pub mod shape;
