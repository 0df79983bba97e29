//! Everything that a configuration reads from elsewhere.

use std::borrow::Cow;

use super::{GatewayConfig, ListenTls, Redis, SecretSource};

impl GatewayConfig {
    /// Every reference with its path, such as `databases[0].redis.passwordFrom`.
    pub fn sources(&self) -> Vec<(String, &SecretSource)> {
        let mut sources = Vec::new();
        for (index, database) in self.databases.iter().enumerate() {
            let redis = database.redis.iter().flat_map(Redis::sources);
            sources.extend(redis.map(|(name, source)| (format!("databases[{index}].redis.{name}"), source)));
        }
        let tls = self.listen.tls.iter().flat_map(ListenTls::sources);
        sources.extend(tls.map(|(name, source)| (format!("listen.tls.{name}"), source)));
        sources.extend(self.auth.keys_from.iter().enumerate().map(|(index, source)| (format!("auth.keysFrom[{index}]"), source)));
        for (index, jwt) in self.auth.jwt.iter().enumerate() {
            let given = [("jwksFrom", &jwt.jwks_from), ("caFrom", &jwt.ca_from)];
            sources.extend(given.into_iter().filter_map(|(name, source)| Some((format!("auth.jwt[{index}].{name}"), source.as_ref()?))));
        }
        sources
    }
}

impl Redis {
    fn sources(&self) -> impl Iterator<Item = (Cow<'static, str>, &SecretSource)> {
        let tls = self.tls.as_ref();
        let sources = [
            ("passwordFrom", self.password_from.as_ref()),
            ("sentinel.passwordFrom", self.sentinel.as_ref().and_then(|sentinel| sentinel.password_from.as_ref())),
            ("tls.caFrom", tls.and_then(|tls| tls.ca_from.as_ref())),
            ("tls.certificateFrom", tls.and_then(|tls| tls.certificate_from.as_ref())),
            ("tls.keyFrom", tls.and_then(|tls| tls.key_from.as_ref())),
        ];
        let users = self.users.iter().enumerate();
        let users = users.map(|(index, user)| (format!("users[{index}].passwordFrom").into(), &user.password_from));
        sources.into_iter().filter_map(|(path, source)| Some((path.into(), source?))).chain(users)
    }
}
