//! URLs of databases, taken apart. What is wrong with one is told without the URL, which may hold a password.

/// A Redis URL, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisUrl {
    /// Where it listens.
    pub address: RedisAddress,
    /// Connections are encrypted.
    pub tls: bool,
    /// The ACL user in the URL, if any.
    pub username: Option<String>,
    /// The password in the URL, if any: allowed by flags and environment of a gateway at hand, refused in a
    /// configuration that is stored.
    pub password: Option<String>,
    /// The database's index.
    pub database: u32,
}

/// Where a Redis listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisAddress {
    /// One server.
    Tcp(Host),
    /// A unix socket's path.
    Unix(String),
    /// The primary of a name, as Sentinels know it.
    Sentinel(Vec<Host>, String),
    /// Some nodes of a cluster, which know the others.
    Cluster(Vec<Host>),
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host {
    /// Its name or IP address, an IPv6 one without brackets.
    pub name: String,
    /// The port.
    pub port: u16,
}

/// The parts of a URL that several hosts do not fit into as the standard has it.
struct Parts<'a> {
    scheme: &'a str,
    /// User and password with the `@` behind them.
    credentials: &'a str,
    hosts: &'a str,
    rest: &'a str,
}

fn parts(text: &str) -> Option<Parts<'_>> {
    let (scheme, rest) = text.split_once("://")?;
    let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (credentials, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
    Some(Parts { scheme, credentials, hosts, rest })
}

const SCHEMES: &str = "redis://, rediss://, redis+unix://, redis+sentinel:// or redis+cluster://";

impl RedisUrl {
    /// Takes a URL apart. Errors say what is wrong and never hold the URL, which may hold a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Parts { scheme, credentials, hosts, rest } = parts(text).ok_or("expected a URL such as redis://host:6379/0")?;
        let url = url::Url::parse(&format!("{scheme}://{credentials}{}{rest}", hosts.split(',').next().unwrap_or_default()))
            .map_err(|error| format!("expected a URL such as redis://host:6379/0: {error}"))?;
        let decode = |part: &str| {
            percent_encoding::percent_decode_str(part)
                .decode_utf8()
                .map(|text| text.into_owned())
                .map_err(|_| "user, password and path have to be percent-encoded UTF-8".to_owned())
        };
        let one = |port| match &Host::list(hosts, port)?[..] {
            [host] => Ok(RedisAddress::Tcp(host.clone())),
            _ => Err(format!("{}:// takes one host", url.scheme())),
        };
        let (tls, scheme) = match url.scheme() {
            "rediss" => (true, "redis"),
            "rediss+sentinel" => (true, "redis+sentinel"),
            "rediss+cluster" => (true, "redis+cluster"),
            scheme => (false, scheme),
        };
        let index = Some(url.path().trim_matches('/').to_owned()).filter(|path| !path.is_empty());
        let (address, index) = match scheme {
            "redis" => (one(6379)?, index),
            "redis+unix" | "unix" => {
                let index = url.query_pairs().find(|(key, _)| key == "db").map(|(_, value)| value.into_owned());
                (RedisAddress::Unix(decode(url.path())?), index)
            }
            "redis+sentinel" => {
                let path = index.unwrap_or_default();
                let (name, index) = path.split_once('/').map_or((&*path, None), |(name, index)| (name, Some(index.to_owned())));
                if name.is_empty() {
                    return Err("expected the primary's name after the Sentinels: redis+sentinel://a:26379,b:26379/mymaster/0".into());
                }
                (RedisAddress::Sentinel(Host::list(hosts, 26379)?, decode(name)?), index)
            }
            "redis+cluster" => match index.as_deref() {
                None | Some("0") => (RedisAddress::Cluster(Host::list(hosts, 6379)?), None),
                Some(_) => return Err("a cluster has no databases but 0".into()),
            },
            other => return Err(format!("unknown scheme {other}://, expected one of {SCHEMES}")),
        };
        let database = match index {
            None => 0,
            Some(index) => index.parse().map_err(|_| "expected a whole number, the database's index, after the host")?,
        };
        let query = matches!(address, RedisAddress::Unix(_));
        if url.fragment().is_some() || url.query_pairs().any(|(name, _)| name != "db" || !query) {
            return Err("expected nothing after the database's index; `#`, `?` and `/` in a password are written %23, %3F and %2F".into());
        }
        let username = Some(decode(url.username())?).filter(|name| !name.is_empty());
        let password = url.password().map(decode).transpose()?;
        Ok(Self { address, tls, username, password, database })
    }

    /// The URL with its password, if any, replaced by `***`: what may be printed.
    pub fn redact(text: &str) -> String {
        match parts(text) {
            Some(Parts { scheme, credentials, hosts, rest }) => match credentials.split_once(':') {
                Some((user, _)) => format!("{scheme}://{user}:***@{hosts}{rest}"),
                None => text.to_owned(),
            },
            None => text.to_owned(),
        }
    }
}

impl Host {
    /// Reads a host, of which the port may be left out.
    pub fn parse(text: &str, port: u16) -> Result<Self, String> {
        // The standard's rules for hosts, which an unknown scheme would not have.
        let url = url::Url::parse(&format!("redis://{text}")).map_err(|error| format!("{text:?} is no host: {error}"))?;
        let name = url.host_str().filter(|name| !name.is_empty()).ok_or("the URL names no host")?;
        if name.len() > 253 || !matches!(url.path(), "" | "/") {
            return Err(format!("{text:?} is no host"));
        }
        Ok(Self { name: name.trim_start_matches('[').trim_end_matches(']').to_owned(), port: url.port().unwrap_or(port) })
    }

    fn list(text: &str, port: u16) -> Result<Vec<Self>, String> {
        text.split(',').map(|host| Self::parse(host, port)).collect()
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.name.contains(':') {
            true => write!(formatter, "[{}]:{}", self.name, self.port),
            false => write!(formatter, "{}:{}", self.name, self.port),
        }
    }
}
