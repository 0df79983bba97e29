//! Whether the databases of a configuration can be reached, and if not, why not: what `dbx-gateway check --connect` asks.

use std::{path::Path, sync::Arc, time::Duration};

use dbx_crds::config::GatewayConfig;

use crate::{
    app,
    backend::{self, Backend},
    shared::Room,
};

/// How often the state of a database is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Connects to each database once, as a gateway would. A line for each that cannot be reached, with its path.
pub async fn connect(config: &GatewayConfig, secrets_dir: &Path, client_name: &str) -> Vec<String> {
    let mut failures = Vec::new();
    for (index, database) in config.databases.iter().enumerate() {
        // What a database that is run for this gateway needs lives until it has answered.
        let mut children = Vec::new();
        let outcome = match app::endpoint(database, secrets_dir, client_name, &mut children).await {
            Ok(endpoint) => {
                let limit = database.redis.clone().unwrap_or_default().connect_timeout().value();
                let bounds = Room::new(&database.limits.over(&config.limits)).bounds(1);
                attempt(&*backend::connect(database, bounds, Arc::new(endpoint)), limit).await
            }
            Err(error) => Err(format!("{error:#}")),
        };
        if let Err(reason) = outcome {
            failures.push(format!("databases[{index}].redis ({}): {reason}", database.name));
        }
    }
    failures
}

/// Waits for the outcome of the first attempt.
async fn attempt(backend: &dyn Backend, limit: Duration) -> Result<(), String> {
    // Nothing has been tried yet: what is said now is what is said while nothing is known.
    let before = backend.state().message;
    // The attempt itself has the limit, and tells more when it gives up.
    let outcome = tokio::time::timeout(limit + limit, async {
        loop {
            let state = backend.state();
            if state.reachable {
                return Ok(());
            }
            if !state.message.is_empty() && state.message != before {
                return Err(state.message);
            }
            tokio::time::sleep(LOOK).await;
        }
    });
    outcome.await.unwrap_or_else(|_| Err("no answer within connectTimeout".into()))
}
