#!/usr/bin/env bash
# One node with its control plane, as the first process of namespaces of its own (deploy/kubernetes/
# cluster.py makes them): network, mounts and processes end with this one, however it ends.
#   node.sh KUBERNETES FOLDER CGROUP IMAGE.tar…
# KUBERNETES is what build.sh made. FOLDER gets logs and the admin's kubeconfig.
# Writes `ready` when the node is; ends all of it when its standard input ends.
set -euo pipefail
kubernetes=$1 folder=$2 cgroup=$3
shift 3
images=("$kubernetes/pause.tar" "$@")
export PATH=$kubernetes/bin:$PATH KUBECONFIG=$folder/kubeconfig
address=10.79.0.1 api=https://10.79.0.1:16443

start() { # NAME COMMAND…: in the background, its log in FOLDER
  local name=$1
  shift
  "$@" < /dev/null > "$folder/log/$name.log" 2>&1 &
}

await() { # SECONDS COMMAND…: until it succeeds
  local turns=$(($1 * 5))
  shift
  until "$@" > "$folder/log/await.log" 2>&1; do
    ((turns-- > 0)) || { echo "not within time: $*" >&2; cat "$folder/log/await.log" >&2; exit 1; }
    sleep 0.2
  done
}

disk() { # what the programs write under fixed names lies in memory and goes with it; logs stay
  mkdir -p "$folder"/{log,certs}
  mount --bind "$folder/log" /var/log
  mount -t tmpfs tmpfs /run
  mount -t tmpfs tmpfs /var/lib
  cat > "$folder/containerd.toml" <<END
version = 2
oom_score = 0
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/modelhub-pause:3.2"
  restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "$kubernetes/cni"
  conf_dir = "$folder/cni"
END
  mkdir "$folder/cni"
  cat > "$folder/cni/pods.conflist" <<END
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "pods", "isGateway": true, "ipMasq": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.79.1.0/24"}]],
            "routes": [{"dst": "10.79.0.0/16"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
END
  cat > "$folder/kubelet.yaml" <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
cgroupDriver: cgroupfs
cgroupRoot: /$cgroup
enforceNodeAllocatable: [pods]
failSwapOn: false
oomScoreAdj: 0
maxOpenFiles: 20000
resolvConf: ""
volumePluginDir: /var/lib/kubelet/volume-plugins
evictionHard: {memory.available: 100Mi}
imageGCHighThresholdPercent: 100
END
}

network() { # a bridge with the node's address; the default route ends on it: no packet leaves
  ip link set lo up
  ip link add node type bridge
  ip addr add $address/24 dev node
  ip link set node up
  ip route add default via $address dev node
}

admin() { # a key for service accounts, and who may do everything
  local token
  openssl genrsa -out "$folder/accounts.key" 2048 2> /dev/null
  token=$(openssl rand -hex 16)
  echo "$token,admin,admin,system:masters" > "$folder/tokens.csv"
  cat > "$KUBECONFIG" <<END
apiVersion: v1
kind: Config
current-context: node
contexts: [{name: node, context: {cluster: node, user: admin}}]
clusters: [{name: node, cluster: {server: "$api", certificate-authority: "$folder/certs/apiserver.crt"}}]
users: [{name: admin, user: {token: "$token"}}]
END
}

control_plane() {
  start etcd etcd --data-dir=/var/lib/etcd --unsafe-no-fsync \
    --listen-client-urls=http://127.0.0.1:2379 --advertise-client-urls=http://127.0.0.1:2379 \
    --listen-peer-urls=http://127.0.0.1:2380
  start apiserver kube-apiserver --etcd-servers=http://127.0.0.1:2379 --secure-port=16443 \
    --advertise-address=$address --bind-address=0.0.0.0 --cert-dir="$folder/certs" \
    --service-cluster-ip-range=10.79.2.0/24 --service-account-issuer=https://node \
    --service-account-key-file="$folder/accounts.key" \
    --service-account-signing-key-file="$folder/accounts.key" \
    --token-auth-file="$folder/tokens.csv" --authorization-mode=RBAC \
    --kubelet-preferred-address-types=InternalIP
  await 60 kubectl get --raw /readyz
  start controller-manager kube-controller-manager --kubeconfig="$KUBECONFIG" --leader-elect=false \
    --service-account-private-key-file="$folder/accounts.key" --use-service-account-credentials \
    --flex-volume-plugin-dir=/var/lib/kubelet/volume-plugins \
    --horizontal-pod-autoscaler-sync-period=5s --horizontal-pod-autoscaler-initial-readiness-delay=1s
  start scheduler kube-scheduler --kubeconfig="$KUBECONFIG" --leader-elect=false
}

node() {
  local image
  start containerd containerd -c "$folder/containerd.toml"
  await 30 ctr version
  for image in "${images[@]}"; do ctr -n k8s.io images import "$image" > /dev/null; done
  start kubelet kubelet --kubeconfig="$KUBECONFIG" --config="$folder/kubelet.yaml" \
    --container-runtime=remote --container-runtime-endpoint=unix:///run/containerd/containerd.sock \
    --hostname-override=node --node-ip=$address --cert-dir="$folder/certs/kubelet" \
    --network-plugin=cni --cni-conf-dir="$folder/cni" --cni-bin-dir="$kubernetes/cni" \
    --runtime-cgroups=/ --kubelet-cgroups=/
  start proxy kube-proxy --kubeconfig="$KUBECONFIG" --hostname-override=node --proxy-mode=iptables \
    --conntrack-max-per-core=0 --conntrack-tcp-timeout-established=0 \
    --conntrack-tcp-timeout-close-wait=0 --cluster-cidr=10.79.1.0/24
  await 60 kubectl wait --for=condition=Ready --timeout=1s node/node
}

disk
network
admin
control_plane
node
echo ready
cat > /dev/null # until whoever started this has no more use for it
# Workloads first, while there is a kubelet to end them. The rest ends with this process.
kubectl delete --all-namespaces --all --wait=false --grace-period=3 \
  deployments,replicasets,jobs,pods > "$folder/log/stop.log" 2>&1 || true
nothing_runs() { [ -z "$(ctr -n k8s.io tasks list --quiet)" ]; }
await 30 nothing_runs
find /sys/fs/cgroup/*/"$cgroup" -depth -type d -exec rmdir {} + 2> /dev/null || true
