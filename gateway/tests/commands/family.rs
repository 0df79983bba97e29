//! The servers that tests run: Debian's Redis, and those that `scripts/tools` fetches.

use std::path::PathBuf;
use std::process::Command;

/// Where `scripts/tools` puts the servers that Debian does not have.
const VALKEY: &str = "valkey-9.1.2";
const STACK: &str = "redis-stack-7.4.1";

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Redis,
    /// A node that has no slots.
    Cluster,
    Valkey,
    ValkeyCluster,
    /// Redis with modules.
    Stack,
}

impl Kind {
    pub fn is_cluster(self) -> bool {
        matches!(self, Self::Cluster | Self::ValkeyCluster)
    }

    /// Its program, with its modules and nothing else.
    pub fn command(self) -> Command {
        match self {
            Self::Redis | Self::Cluster => Command::new("redis-server"),
            Self::Valkey | Self::ValkeyCluster => Command::new(tool(VALKEY).join("valkey-server")),
            Self::Stack => {
                let stack = tool(STACK);
                let mut command = Command::new(stack.join("redis-server"));
                command.env("LD_LIBRARY_PATH", &stack);
                for module in ["rejson.so", "redisearch.so", "redisbloom.so", "redistimeseries.so"] {
                    command.arg("--loadmodule").arg(self::module(module));
                }
                command
            }
        }
    }
}

/// A module of Redis Stack.
pub fn module(name: &str) -> PathBuf {
    tool(STACK).join(name)
}

/// A folder that `scripts/tools` has filled.
fn tool(name: &str) -> PathBuf {
    let cache = std::env::var_os("DBXDEV_CACHE").map(PathBuf::from);
    let cache = cache.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/dbx"));
    let folder = cache.join("tools").join(name);
    assert!(folder.is_dir(), "{} is missing: `scripts/tools valkey stack` fetches it, and `make test` does that", folder.display());
    folder
}
