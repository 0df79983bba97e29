//! DBX on a real cluster, used as its users use it: each test in a namespace of its own that enforces the *restricted* Pod
//! Security Standard, with the operator that the chart installs. `make e2e` prepares what they need.
//! What a failed test leaves in `$DBXDEV_E2E_DIR/logs/tests` outlives its namespace, which `DBXDEV_E2E_KEEP=1` keeps.

mod case;
mod client;
mod credentials;
mod deletion;
mod drift;
mod everything;
mod keys;
mod kubectl;
mod mistakes;
mod names;
mod observe;
mod plugin;
mod previous;
mod quickstart;
mod references;
#[path = "../../../operator/tests/control_plane/roles.rs"]
mod roles;
mod rollout;
mod sockets;
mod storage;
mod suite;
mod upgrade;
mod world;
