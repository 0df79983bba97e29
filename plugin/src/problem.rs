//! What went wrong, in words that say what to do about it.

use std::fmt;

use anyhow::anyhow;
use kube::Error;

/// Something that was asked of the API server.
pub(crate) struct Asked<'a> {
    pub(crate) verb: &'static str,
    /// Its plural, with its group.
    pub(crate) resource: String,
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
                403 => {
                    let place = if self.namespace.is_empty() { "in every namespace" } else { "in the namespace " };
                    // A port-forward takes two verbs, of which the server names the one that is missing first.
                    let verb = status.message.split(" cannot ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or(self.verb);
                    let resource = &self.resource;
                    anyhow!("forbidden: you need the verb `{verb}` on `{resource}` {place}{}: {}", self.namespace, status.message)
                }
                404 if status.details.as_ref().is_some_and(|details| !details.name.is_empty() && details.name == self.name) => {
                    anyhow!("no {self}")
                }
                404 if self.resource.ends_with(".dbx.dev") => anyhow!(
                    "the cluster has no {}: the definitions (CRDs) are not installed; `helm install dbx charts/dbx-operator` installs them",
                    self.resource
                ),
                _ => anyhow!("{} {self}: {}", self.verb, status.message),
            },
            Error::Service(error) => anyhow::Error::from_boxed(error).context("the API server does not answer"),
            Error::HyperError(error) => anyhow::Error::new(error).context("the API server does not answer"),
            Error::Auth(error) => anyhow::Error::new(error).context("the credentials of your kubeconfig cannot be had"),
            error => anyhow::Error::new(error).context(format!("{} {self}", self.verb)),
        }
    }
}

impl fmt::Display for Asked<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.resource)?;
        if !self.name.is_empty() {
            write!(formatter, " {}", self.name)?;
        }
        if !self.namespace.is_empty() {
            write!(formatter, " in the namespace {}", self.namespace)?;
        }
        Ok(())
    }
}
