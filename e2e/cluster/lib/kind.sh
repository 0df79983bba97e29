# shellcheck shell=bash
# shellcheck disable=SC2154 # the names of settings.sh
# The kind cluster: its node image, its making and removing, the images in it. Sourced.

kind() { "$tools_dir/kind" "$@"; }
cluster_kubectl() { PATH=$tools_dir:$PATH kubectl --kubeconfig "$kubeconfig" "$@"; }

# What a running cluster is a function of.
cluster_inputs() { echo "$(hash lib/kind.sh audit-policy.yaml) $node_image $DBXDEV_E2E_PORT $DBXDEV_E2E_WORKERS"; }

# `ready` is written last: a cluster without it is the remains of a run that broke off.
cluster_ready() {
  [[ -e $DBXDEV_E2E_DIR/ready ]] && cluster_kubectl get --raw /readyz --request-timeout=5s > /dev/null 2>&1
}

published_node_image() {
  local sources
  sources=$(go mod download -json "sigs.k8s.io/kind@$kind_version" | sed -n 's/.*"Dir": "\(.*\)",/\1/p')
  sed -n 's/^const Image = "\(.*\)"/\1/p' "$sources/pkg/apis/config/defaults/image.go"
}

has_image() { docker image inspect "$1" > /dev/null 2>&1; }

# can_pull IMAGE: asks for the manifest only, since a slow pull and no network look the same for long.
can_pull() {
  if [[ ${registry:-} != none ]] && timeout 20 docker manifest inspect "$1" > /dev/null 2>&1; then return; fi
  registry=none
  return 1
}

# Sets `image` to kind's published node image where it can be had, else to one built here.
ensure_node_image() {
  image=$node_image
  if has_image "$image"; then return; fi
  local published
  published=$(published_node_image)
  if has_image "$published"; then
    image=$published
  elif can_pull "$published"; then
    step node-image "1 min" "pulling $published" docker pull "$published"
    image=$published
  else
    say "kind's node image cannot be pulled here; building one from Go modules and Debian packages"
    ensure_package debootstrap debootstrap
    ensure_kubernetes
    ensure_tools # kubectl now comes with it
    step node-image "2 min" "building the node image $image" "$cluster_dir/node/build" "$image" "$kubernetes_dir"
  fi
}

write_config() {
  # Docker mounts this file for as long as the node lives; the clone may go earlier.
  cp "$cluster_dir/audit-policy.yaml" "$DBXDEV_E2E_DIR/audit-policy.yaml"
  local own_network=false
  [[ $image != "$node_image" ]] || own_network=true
  cat > "$DBXDEV_E2E_DIR/kind.yaml" << EOF
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
networking:
  # The image built here brings its own bridge.
  disableDefaultCNI: $own_network
  podSubnet: 10.244.0.0/16
nodes:
  - role: control-plane
    extraPortMappings:
      - { containerPort: 30080, hostPort: $DBXDEV_E2E_PORT, listenAddress: 127.0.0.1 }
    extraMounts:
      - { hostPath: $DBXDEV_E2E_DIR/audit-policy.yaml, containerPath: /etc/kubernetes/audit/policy.yaml, readOnly: true }
$(for ((worker = 0; worker < DBXDEV_E2E_WORKERS; worker++)); do echo "  - role: worker"; done)
kubeadmConfigPatches:
  - |
    kind: ClusterConfiguration
    apiServer:
      extraArgs:
        audit-policy-file: /etc/kubernetes/audit/policy.yaml
        audit-log-path: /var/log/kubernetes/audit.log
        audit-log-maxsize: "200"
        audit-log-maxbackup: "2"
      extraVolumes:
        - { name: audit-policy, hostPath: /etc/kubernetes/audit, mountPath: /etc/kubernetes/audit, readOnly: true, pathType: DirectoryOrCreate }
        - { name: audit-log, hostPath: /var/log/kubernetes, mountPath: /var/log/kubernetes, pathType: DirectoryOrCreate }
  - |
    kind: KubeletConfiguration
    # Hosts with cgroup v1 are still around.
    failCgroupV1: false
    # How soon a changed Secret reaches a running pod.
    syncFrequency: 10s
EOF
}

# Gives each node a range of addresses of its own, and the way to those of the others: what kind's own network does.
connect_nodes() {
  local node other range
  local -A ranges addresses
  for node in $(kind get nodes --name "$cluster_name"); do
    ranges[$node]=$(cluster_kubectl get node "$node" --output 'jsonpath={.spec.podCIDR}')
    addresses[$node]=$(cluster_kubectl get node "$node" --output 'jsonpath={.status.addresses[?(@.type=="InternalIP")].address}')
  done
  for node in "${!ranges[@]}"; do
    docker exec "$node" sed -i "s#\"subnet\": \"[^\"]*\"#\"subnet\": \"${ranges[$node]}\"#" /etc/cni/net.d/10-bridge.conflist
    for other in "${!ranges[@]}"; do
      [[ $other == "$node" ]] || docker exec "$node" ip route replace "${ranges[$other]}" via "${addresses[$other]}"
    done
  done
  # Those that already had an address of another node's range.
  cluster_kubectl delete pods --all --namespace local-storage --wait=false
  cluster_kubectl delete pods --selector k8s-app=kube-dns --namespace kube-system --wait=false
}

port_taken() { (exec 3<> "/dev/tcp/127.0.0.1/$DBXDEV_E2E_PORT") 2> /dev/null; }

create_cluster() {
  delete_cluster
  if port_taken; then
    die "port $DBXDEV_E2E_PORT of 127.0.0.1 is taken; name a free one: DBXDEV_E2E_PORT=30081 e2e/cluster/cluster up"
  fi
  write_config
  # --retain: the node of a failed start stays for its logs; the next up or down removes it.
  step kind-create "40 s" "starting the cluster $cluster_name" "$tools_dir/kind" create cluster --name "$cluster_name" \
    --image "$image" --config "$DBXDEV_E2E_DIR/kind.yaml" --kubeconfig "$kubeconfig" --wait 120s --retain
  if ((DBXDEV_E2E_WORKERS > 0)) && [[ $image == "$node_image" ]]; then connect_nodes > /dev/null; fi
  step rollout "20 s" "waiting for cluster DNS and storage" "$cluster_dir/lib/rollout" "$kubeconfig"
}

delete_cluster() {
  [[ -x $tools_dir/kind ]] || return 0
  if kind get clusters 2> /dev/null | grep -qx "$cluster_name"; then
    step kind-delete "2 s" "removing the cluster $cluster_name" "$tools_dir/kind" delete cluster --name "$cluster_name" --kubeconfig "$kubeconfig"
  fi
}

# The operator's default Redis, under the name it is asked for by.
load_redis() {
  local built
  built=dbx-e2e/redis:$(hash ../../images/redis ../../images/rootfs.sh)
  # One that was built here by an earlier version of the script is built again; one that was pulled stays.
  if ! has_image "$built" && { ! has_image "$redis_image" || [[ -n $(docker images --quiet dbx-e2e/redis) ]]; }; then
    if can_pull "$redis_image"; then
      step redis "20 s" "pulling $redis_image" docker pull "$redis_image"
    else
      ensure_package redis-server redis-server redis-tools
      step redis "2 s" "building $redis_image from Debian's Redis" "$repository/images/redis" "$built"
      docker tag "$built" "$redis_image"
    fi
  fi
  step redis-load "2 s" "loading $redis_image" "$tools_dir/kind" load docker-image --name "$cluster_name" "$redis_image"
}
