# shellcheck shell=bash
# shellcheck disable=SC2034 # the names are for those who source this
# Where things are, which versions are used, and how a step reports. Sourced by the scripts of this
# folder; starts nothing and writes nothing.

# Both folders lie outside the checkout, so that every clone shares one cluster and finds a warm cache.
export DBXDEV_CACHE="${DBXDEV_CACHE:-$HOME/.cache/dbx}"             # results that are a function of their inputs
export DBXDEV_E2E_DIR="${DBXDEV_E2E_DIR:-$HOME/.cache/dbx/e2e}"     # what runs: Docker's data, kubeconfig, logs
export DBXDEV_E2E_PORT="${DBXDEV_E2E_PORT:-30080}"                  # 127.0.0.1:PORT leads to NodePort 30080
export DBXDEV_E2E_WORKERS="${DBXDEV_E2E_WORKERS:-0}"                # nodes beside the first, which then has no pods of ours

cluster_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
repository=$(cd "$cluster_dir/../.." && pwd)

cluster_name=dbx-e2e
node_name=$cluster_name-control-plane
kubeconfig=$DBXDEV_E2E_DIR/kubeconfig
docker_dir=$DBXDEV_E2E_DIR/docker
docker_socket=unix://$docker_dir/docker.sock

kind_version=v0.30.0
helm_version=v3.19.0
kubernetes_version=$(awk '$1 == "require" && $2 == "k8s.io/kubernetes" {print $3}' "$cluster_dir/kubernetes/go.mod")
redis_image=redis:7.0

# hash PATH...: changes when a file at or below the paths does, and only then.
hash() { (cd "$cluster_dir" && find "$@" -type f -print0 | sort -z | xargs -0 sha256sum) | sha256sum | cut -c1-12; }

kubernetes_dir=$DBXDEV_CACHE/kubernetes/$(hash kubernetes)
simulator_dir=$DBXDEV_CACHE/simulator/$(hash simulator)
definitions_dir=$DBXDEV_CACHE/definitions/$(hash definitions)
tools_dir=$DBXDEV_CACHE/tools/kind-$kind_version-helm-$helm_version
node_image=dbx-e2e/node:$(hash kubernetes node ../../images/rootfs.sh)

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

# step LOG TIME TEXT COMMAND...: runs a program with its output in a log, says what is being done, about how
# long that takes, how long it took. COMMAND is a program, not a function: bash suspends `set -e` in
# a function whose result is tested.
step() {
  local log=$DBXDEV_E2E_DIR/logs/$1.log estimate=$2 text=$3 start=$SECONDS
  shift 3
  mkdir -p "$DBXDEV_E2E_DIR/logs"
  printf '%s (about %s) ... ' "$text" "$estimate" >&2
  # The lock's descriptor stays here: a daemon that inherits it would hold the lock for good.
  if "$@" > "$log" 2>&1 < /dev/null 9>&-; then
    say "$((SECONDS - start)) s"
  else
    say "failed after $((SECONDS - start)) s"
    say "--- last lines of $log"
    tail -n 20 "$log" >&2
    die "$text: failed; the whole log is $log"
  fi
}
