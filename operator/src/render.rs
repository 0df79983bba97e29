//! The file that a gateway's pods read. It differs from `spec.config` in the addresses, which the pod's ports fix, and in
//! managed databases, which become the ones that the operator runs, and in the file of the keys that the operator makes. Pure, and the
//! same for the same input.

use dbx_crds::config::{AuthMode, GatewayConfig, KeyRef, SecretSource};
pub use dbx_crds::gateway::pods::{DATA_PORT, OPERATIONS_PORT};

use crate::names;

/// The ACL user that gateways log in as at a managed Redis.
pub const REDIS_USER: &str = "dbx";
/// The key of the password in a managed Redis' Secret.
pub const PASSWORD_KEY: &str = "password";

/// Where Secrets and ConfigMaps are mounted inside a pod.
pub const DIRECTORY: &str = "/etc/dbx/secrets";
/// The key of the file of keys in its ConfigMap.
pub const KEYS_FILE: &str = "keys.yaml";

/// Where a gateway that asks for credentials finds the keys that the operator makes.
fn keys_source(gateway: &str) -> SecretSource {
    let key_ref = KeyRef { name: names::keys(gateway), key: KEYS_FILE.into() };
    SecretSource { config_map_key_ref: Some(key_ref), ..SecretSource::default() }
}

/// A rendered file and its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The configuration that the file holds.
    pub config: GatewayConfig,
    /// The file.
    pub yaml: String,
    /// Eight hexadecimal digits that stand for it.
    pub hash: String,
}

/// Renders the configuration of the gateway of a name.
pub fn render(gateway: &str, config: &GatewayConfig) -> Rendered {
    let mut config = config.clone();
    config.listen.data = Some(format!("0.0.0.0:{DATA_PORT}"));
    config.listen.operations = Some(format!("0.0.0.0:{OPERATIONS_PORT}"));
    for database in &mut config.databases {
        let Some(redis) = database.redis.as_mut().filter(|redis| redis.managed.is_some()) else { continue };
        redis.managed = None;
        redis.url = Some(format!("redis://{}:6379", names::child(gateway, &database.name)));
        redis.username = Some(REDIS_USER.into());
        let key_ref = KeyRef { name: names::auth(gateway, &database.name), key: PASSWORD_KEY.into() };
        redis.password_from = Some(SecretSource { secret_key_ref: Some(key_ref), ..SecretSource::default() });
    }
    if config.auth.mode == Some(AuthMode::Required) {
        config.auth.keys_from.push(keys_source(gateway));
    }
    let yaml = serde_yaml::to_string(&config).expect("a configuration is YAML");
    let hash = names::hash8(yaml.as_bytes());
    Rendered { config, yaml, hash }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(yaml: &str) -> GatewayConfig {
        serde_yaml::from_str(yaml).unwrap()
    }

    #[test]
    fn only_addresses_and_managed_databases_differ() {
        let rendered = render(
            "cache",
            &config(
                "databases: [{ name: a, redis: { managed: { storage: 2Gi } } }, { name: b, redis: { url: 'redis://b' } }]\nauth: { mode: none }\nlimits: { callTimeout: 1s }",
            ),
        );
        insta::assert_snapshot!(rendered.yaml, @r"
        databases:
        - name: a
          redis:
            url: redis://cache-a:6379
            username: dbx
            passwordFrom:
              secretKeyRef:
                name: cache-a-auth
                key: password
        - name: b
          redis:
            url: redis://b
        auth:
          mode: none
        listen:
          data: 0.0.0.0:3000
          operations: 0.0.0.0:9090
        limits:
          callTimeout: 1s
        ");
        assert_eq!(rendered.config.validate(), []);
    }

    #[test]
    fn a_gateway_that_asks_for_credentials_reads_the_keys_that_are_made_for_it() {
        let rendered = render(
            "cache",
            &config(
                "databases: [{ name: a, redis: { url: 'redis://a' } }]\nauth: { mode: required, keysFrom: [{ secretKeyRef: { name: own, key: keys } }] }",
            ),
        );
        let sources: Vec<_> = rendered.config.auth.keys_from.iter().map(|source| serde_json::to_string(source).unwrap()).collect();
        assert_eq!(
            sources,
            [r#"{"secretKeyRef":{"name":"own","key":"keys"}}"#, r#"{"configMapKeyRef":{"name":"cache-keys","key":"keys.yaml"}}"#]
        );
        assert_eq!(rendered.config.validate(), []);
    }

    #[test]
    fn storage_does_not_change_the_file() {
        let with = |storage: &str| {
            render("c", &config(&format!("databases: [{{ name: a, redis: {{ managed: {{ storage: {storage} }} }} }}]"))).hash
        };
        assert_eq!(with("1Gi"), with("2Gi"));
    }
}
