//! What the operator is told on its command line or in its environment.

use std::net::SocketAddr;

use clap::{Parser, Subcommand};
use dbx_crds::gateway::PullPolicy;

/// Runs gateways to databases on Kubernetes: apply a DbxGateway, get a gateway.
///
/// It finds the cluster as kubectl does: KUBECONFIG, ~/.kube/config, or the ServiceAccount of its pod.
#[derive(Debug, Parser)]
#[command(version, name = "dbx-operator", after_help = EXAMPLES)]
pub struct Args {
    /// What to do; `run` when nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to run.
    #[command(flatten)]
    pub run: Run,
}

const EXAMPLES: &str = "Examples:
  dbx-operator crds | kubectl apply -f -    installs the definitions
  dbx-operator                              runs against the cluster that kubectl would use
  kubectl get dbxgateways -A                shows the gateways and whether they are ready";

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Watch gateways and make what they ask for; the default.
    Run,
    /// Print the CustomResourceDefinitions as YAML.
    Crds {
        /// Only this one.
        definition: Option<Definition>,
    },
    /// Print the reference page of a definition as Markdown.
    Reference {
        /// Which one.
        definition: Definition,
    },
    /// Ask an operator whether it is ready, and the cluster whether it would take a gateway; `helm test` does. Nothing is changed.
    Check {
        /// Where the operator listens.
        #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
        address: String,
    },
}

/// A CustomResourceDefinition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Definition {
    /// Of gateways.
    Dbxgateways,
    /// Of keys to them.
    Dbxapikeys,
}

/// How to run.
#[derive(Clone, Debug, clap::Args)]
pub struct Run {
    /// The image of gateways that do not name one.
    #[arg(long, env = "DBX_OPERATOR_GATEWAY_IMAGE", value_name = "IMAGE", default_value = concat!("ghcr.io/dbx-dev/dbx-gateway:", env!("CARGO_PKG_VERSION")))]
    pub gateway_image: String,
    /// The image of managed Redis servers.
    #[arg(long, env = "DBX_OPERATOR_REDIS_IMAGE", value_name = "IMAGE", default_value = "docker.io/library/redis:7.0")]
    pub redis_image: String,
    /// When nodes pull those images: Always, IfNotPresent or Never.
    #[arg(long, env = "DBX_OPERATOR_PULL_POLICY", value_name = "POLICY", default_value = "IfNotPresent", value_parser = pull_policy)]
    pub pull_policy: PullPolicy,
    /// Secrets, in the namespaces of the gateways, that pulling those images needs.
    #[arg(long = "pull-secret", env = "DBX_OPERATOR_PULL_SECRETS", value_name = "NAME", value_delimiter = ',')]
    pub pull_secrets: Vec<String>,
    /// The namespaces whose gateways are worked on; all of them when none is named.
    #[arg(long = "watch-namespace", env = "DBX_OPERATOR_WATCH_NAMESPACES", value_name = "NAMESPACE", value_delimiter = ',')]
    pub watch_namespaces: Vec<String>,
    /// The Lease that the operator which works holds; the others wait for it.
    #[arg(long, env = "DBX_OPERATOR_LEASE", value_name = "NAME", default_value = "dbx-operator")]
    pub lease: String,
    /// The namespace of the Lease. Default: the operator's own, or that of the kubeconfig's context.
    #[arg(long, env = "DBX_OPERATOR_LEASE_NAMESPACE", value_name = "NAMESPACE")]
    pub lease_namespace: Option<String>,
    /// Where /livez, /readyz and /metrics are served.
    #[arg(long, env = "DBX_OPERATOR_LISTEN", value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// How many gateways are worked on at once.
    #[arg(long, env = "DBX_OPERATOR_CONCURRENCY", value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub concurrency: u16,
    /// How many gateways are rolled at once to the version that a newer operator brings.
    #[arg(long, env = "DBX_OPERATOR_MAX_CONCURRENT_ROLLOUTS", value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    pub max_concurrent_rollouts: u16,
    /// How long until a gateway is looked at again when nothing happens, in seconds; a tenth is left to chance.
    #[arg(long, env = "DBX_OPERATOR_RESYNC", value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..))]
    pub resync: u64,
    /// How often pods are asked about their databases when nothing happens, in seconds; a tenth is left to chance.
    #[arg(long, env = "DBX_OPERATOR_PROBE", value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    pub probe: u64,
    /// How often APIs are looked for that a cluster need not have, in seconds; a tenth is left to chance.
    #[arg(long, env = "DBX_OPERATOR_DISCOVER", value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    pub discover: u64,
    /// The lowest level that is logged: error, warn, info, debug or trace.
    #[arg(long, env = "DBX_OPERATOR_LOG", value_name = "LEVEL", default_value = "info")]
    pub log: tracing::Level,
}

fn pull_policy(text: &str) -> Result<PullPolicy, String> {
    serde_json::from_value(text.into()).map_err(|_| "expected Always, IfNotPresent or Never".into())
}
