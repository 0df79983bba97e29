//! Everything that a configuration reads from elsewhere.

use super::{GatewayConfig, Redis, SecretSource};

impl GatewayConfig {
    /// Every reference with its path, such as `databases[0].redis.passwordFrom`.
    pub fn sources(&self) -> Vec<(String, &SecretSource)> {
        let mut sources = Vec::new();
        for (index, database) in self.databases.iter().enumerate() {
            let redis = database.redis.iter().flat_map(Redis::sources);
            sources.extend(redis.map(|(name, source)| (format!("databases[{index}].redis.{name}"), source)));
        }
        sources
    }
}
