//! What is asked on the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Looks at gateways to databases, and calls them, from where kubectl runs.
#[derive(Debug, Parser)]
#[command(version, name = "kubectl-dbx", bin_name = "kubectl dbx", after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "Examples:
  kubectl dbx status -A                          what is not well, in every namespace
  kubectl dbx call cache get '{\"key\":\"a\"}'       an operation by name
  kubectl dbx call cache /api/v1/redis --key web with the key of the DbxApiKey web
  kubectl dbx logs cache -f                      logs of all pods

Ends with 1 when something is not well, was refused, or could not be done.";

/// The cluster that is asked: kubectl's, by KUBECONFIG, ~/.kube/config, or the ServiceAccount of the pod that this runs in.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The namespace. Default: that of the kubeconfig's context.
    #[arg(short, long, global = true)]
    pub(crate) namespace: Option<String>,
    /// The context of the kubeconfig. Default: the current one.
    #[arg(long, global = true)]
    pub(crate) context: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// How gateways are: conditions, pods, databases and keys. Ends with 1 when something is not well.
    Status {
        /// The gateway. Default: all, those that are well with one line each.
        name: Option<String>,
        /// Every namespace.
        #[arg(short = 'A', long, conflicts_with = "name")]
        all_namespaces: bool,
    },
    /// Calls a gateway through a port-forward to one of its ready pods. Ends with 1 at a status of 400 or more.
    Call(Call),
    /// The logs of all pods of a gateway, each line with the end of its pod's name.
    Logs(Logs),
    /// The DbxApiKeys of a gateway.
    Keys {
        /// The gateway.
        name: String,
    },
    /// What each pod of a gateway does, over one second.
    Top {
        /// The gateway.
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Call {
    /// The gateway.
    pub(crate) name: String,
    /// [METHOD] PATH, or the name of an operation and its arguments as JSON.
    #[arg(required = true, num_args = 1..=2, value_name = "WHAT")]
    pub(crate) what: Vec<String>,
    /// The body, JSON.
    #[arg(short, long = "data", value_name = "BODY")]
    pub(crate) data: Option<String>,
    /// The database of an operation by name. Default: the gateway's only one.
    #[arg(long)]
    pub(crate) database: Option<String>,
    /// The DbxApiKey of the namespace whose token is shown. Default: the token in DBX_TOKEN, if there is one.
    #[arg(long, value_name = "DBXAPIKEY")]
    pub(crate) key: Option<String>,
    /// A file with the token.
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    pub(crate) token_file: Option<PathBuf>,
    /// The CA certificates, PEM, that a gateway with TLS is believed by. Default: `ca.crt` in the Secret of its certificate.
    #[arg(long, value_name = "FILE")]
    pub(crate) cacert: Option<PathBuf>,
    /// Believe a gateway with TLS whatever it shows.
    #[arg(long, conflicts_with = "cacert")]
    pub(crate) insecure: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// The gateway.
    pub(crate) name: String,
    /// Go on with what is logged from now on, by pods that appear later too.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Of the containers before the last restart.
    #[arg(long, conflicts_with = "follow")]
    pub(crate) previous: bool,
    /// Only so many lines of each pod.
    #[arg(long, value_name = "LINES")]
    pub(crate) tail: Option<u32>,
}
