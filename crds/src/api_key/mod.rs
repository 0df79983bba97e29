//! Keys by which applications call a gateway: their text, the file that a gateway knows them by, and `DbxApiKey`, which has the
//! operator make and replace one.

pub mod file;
#[cfg(feature = "kube")]
mod period;
#[cfg(feature = "kube")]
mod resource;
#[cfg(feature = "kube")]
mod rules;
mod time;
pub mod token;

#[cfg(feature = "kube")]
pub use period::Period;
#[cfg(feature = "kube")]
pub use resource::{DbxApiKey, DbxApiKeySpec, DbxApiKeyStatus, GatewayRef, KeyStatus, ROTATE_AT, TOKEN, URL};
#[cfg(feature = "kube")]
pub use rules::{RULES, crd};
pub use time::Time;

#[cfg(all(test, feature = "kube"))]
mod tests;
