# shellcheck shell=bash
# shellcheck disable=SC2154 # the names of settings.sh
# What the cluster needs of the host: Debian packages, a Docker daemon, programs. Sourced.

# ensure_package PROGRAM PACKAGE...: installs the packages when the program is missing.
ensure_package() {
  local program=$1
  shift
  if PATH=$PATH:/usr/sbin:/sbin command -v "$program" > /dev/null; then return; fi
  command -v apt-get > /dev/null || die "$program is missing; install it with your system's package manager"
  ((EUID == 0)) || die "$program is missing; as root: apt-get install $*"
  step apt-update "10 s" "updating the list of Debian packages" apt-get update
  # RUNLEVEL: installing a package must not start its service here.
  step "apt-$program" "20 s" "installing Debian's $*" env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
    apt-get install --yes --no-install-recommends -o DPkg::Lock::Timeout=300 "$@"
}

# find_docker: whether a daemon answers, the user's own first; sets DOCKER_HOST for ours.
find_docker() {
  if docker version > /dev/null 2>&1; then return; fi
  if [[ -S $docker_dir/docker.sock ]] && docker --host "$docker_socket" version > /dev/null 2>&1; then
    export DOCKER_HOST=$docker_socket
    return
  fi
  return 1
}

ensure_docker() {
  if find_docker; then return; fi
  ensure_package dockerd docker.io
  # With systemd, installing the package may have started it.
  if find_docker; then return; fi
  ensure_package iptables iptables
  step docker "3 s" "starting a Docker daemon in $docker_dir" "$cluster_dir/docker/start"
  find_docker
}

stop_docker() {
  # A daemon that cannot say what it runs is dead, and has left things to clean all the same.
  "$cluster_dir/docker/stop"
}

ensure_kubernetes() {
  if [[ -x $kubernetes_dir/kubernetes ]]; then return; fi
  step kubernetes "7 min, 20 s with a warm Go cache" "building Kubernetes $kubernetes_version" \
    "$cluster_dir/kubernetes/build" "$kubernetes_dir"
}

ensure_definitions() {
  if [[ -d $definitions_dir ]]; then return; fi
  step definitions "10 s" "copying definitions of other projects" "$cluster_dir/definitions/copy" "$definitions_dir"
}

ensure_simulator() {
  if [[ -x $simulator_dir/kwok ]]; then return; fi
  step simulator "2 min" "building kwok" "$cluster_dir/simulator/build" "$simulator_dir/kwok"
}

ensure_tools() {
  command -v go > /dev/null || die "Go is missing; install Go 1.25 or newer"
  mkdir -p "$tools_dir"
  if [[ ! -x $tools_dir/kind ]]; then
    step kind "20 s" "installing kind $kind_version" env GOBIN="$tools_dir" go install "sigs.k8s.io/kind@$kind_version"
  fi
  if [[ ! -x $tools_dir/helm ]]; then
    step helm "2 min" "installing helm $helm_version" env GOBIN="$tools_dir" go install "helm.sh/helm/v3/cmd/helm@$helm_version"
  fi
  # The one that matches the cluster where it was built, else the user's.
  if [[ -x $kubernetes_dir/kubectl ]]; then
    ln -sfn "$kubernetes_dir/kubectl" "$tools_dir/kubectl"
  elif [[ ! -x $tools_dir/kubectl ]] && ! command -v kubectl > /dev/null; then
    ensure_kubernetes
    ln -sfn "$kubernetes_dir/kubectl" "$tools_dir/kubectl"
  fi
}
