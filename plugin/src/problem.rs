//! What went wrong, in words that say what to do about it.

use std::fmt;

use anyhow::anyhow;
use kube::{Error, client::UpgradeConnectionError};

/// Something that was asked of the API server.
pub(crate) struct Asked<'a> {
    pub(crate) verb: &'static str,
    /// Its plural, with its group.
    pub(crate) resource: &'static str,
    /// Empty for all.
    pub(crate) name: &'a str,
    /// Empty for all.
    pub(crate) namespace: &'a str,
}

impl Asked<'_> {
    /// Why it failed.
    pub(crate) fn failed(&self, error: Error) -> anyhow::Error {
        match error {
            Error::Api(status) => match status.code {
                401 => anyhow!("the API server does not know you: {}; do the credentials of your kubeconfig still hold?", status.message),
                403 => anyhow!("{}: {}", self.forbidden(), status.message),
                404 if status.details.as_ref().is_some_and(|details| !details.name.is_empty() && details.name == self.name) => {
                    anyhow!("no {self}")
                }
                404 if self.resource.ends_with(".dbx.dev") => anyhow!(
                    "the cluster has no {}: the definitions (CRDs) are not installed; `helm install dbx charts/dbx-operator` installs them",
                    self.resource
                ),
                _ => anyhow!("{} {self}: {}", self.verb, status.message),
            },
            Error::UpgradeConnection(UpgradeConnectionError::ProtocolSwitch(status)) => match status.as_u16() {
                403 => anyhow!("{}", self.forbidden()),
                404 => anyhow!("no {self} any more"),
                _ => anyhow!("{} {self}: the API server answers {status}", self.verb),
            },
            Error::Service(error) => anyhow::Error::from_boxed(error).context("the API server does not answer"),
            Error::HyperError(error) => anyhow::Error::new(error).context("the API server does not answer"),
            Error::Auth(error) => anyhow::Error::new(error).context("the credentials of your kubeconfig cannot be had"),
            error => anyhow::Error::new(error).context(format!("{} {self}", self.verb)),
        }
    }

    fn forbidden(&self) -> String {
        let place = if self.namespace.is_empty() { "in every namespace".into() } else { format!("in the namespace {}", self.namespace) };
        format!("forbidden: you need the verb `{}` on `{}` {place}", self.verb, self.resource)
    }
}

impl fmt::Display for Asked<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.resource)?;
        if !self.name.is_empty() {
            write!(formatter, " {}", self.name)?;
        }
        if !self.namespace.is_empty() {
            write!(formatter, " in the namespace {}", self.namespace)?;
        }
        Ok(())
    }
}
