//! Who may do what by configuration: makes identities of names.

use std::{sync::Arc, time::SystemTime};

use dbx_crds::config::{AuthMode, Database, GatewayConfig, Grant, Invalid};

use super::{
    Rights, check_access,
    identity::{ANONYMOUS, Identity, names},
};

/// What is needed of a configuration to say what a caller may do.
#[derive(Debug)]
pub(super) struct Roster {
    databases: Vec<Database>,
    grants: Vec<Grant>,
    /// Whom no grant names may do everything.
    is_open: bool,
}

impl Roster {
    /// Takes it out of a configuration.
    pub(super) fn new(config: &GatewayConfig) -> Self {
        let grants = config.auth.grants.clone();
        let is_open = grants.is_empty() && config.auth.mode != Some(AuthMode::Required);
        Self { databases: config.databases.clone(), grants, is_open }
    }

    /// A caller with the grants of its name and its groups, and those that came with its credential.
    ///
    /// Errors: what of its grants does not go together.
    pub(super) fn identity(
        &self,
        name: String,
        groups: Vec<String>,
        until: Option<SystemTime>,
        own: &[Grant],
    ) -> Result<Arc<Identity>, String> {
        let concerning = self.grants.iter().filter(|grant| names(&grant.to, &name, &groups));
        let grants: Vec<&Grant> = concerning.chain(own).collect();
        if grants.is_empty() && self.is_open {
            return Ok(Identity::unrestricted(&name, self.databases.len()));
        }
        let rights = self.databases.iter().map(|database| Rights::compile(database, &grants)).collect::<Result<_, _>>()?;
        let known = grants.into_iter().map(|grant| Grant { to: Vec::new(), ..grant.clone() }).collect();
        Ok(Arc::new(Identity::new(name, groups, until, known, rights)))
    }

    /// Who shows no credential.
    pub(super) fn anonymous(&self) -> Result<Arc<Identity>, String> {
        self.identity(ANONYMOUS.to_owned(), Vec::new(), None, &[])
    }
}

/// What of the grants of a configuration only the operations can tell, by its path.
pub fn check(config: &GatewayConfig) -> Vec<Invalid> {
    let grants = config.auth.grants.iter().enumerate();
    let mistakes = grants.filter_map(|(index, grant)| {
        let message = check_access(&grant.access).err()?;
        Some(Invalid { path: format!("auth.grants[{index}].access"), message })
    });
    let anonymous = Roster::new(config).anonymous().err().map(|message| Invalid { path: "auth.grants".to_owned(), message });
    let mistakes: Vec<_> = mistakes.collect();
    // A mistake of a word is one of whoever it concerns as well.
    if mistakes.is_empty() { anonymous.into_iter().collect() } else { mistakes }
}
