#!/usr/bin/env bash
# Kubernetes 1.20.2 for `make cluster-test`, out of Debian's source package: prints the folder that
# then holds `bin/` (its five programs, etcd, containerd), `cni/` and `pause.tar`.
#
# The folder lies in the user's cache, so that this is done once for each machine (some ten minutes).
# A build that was cut off goes on where it was. Nothing is installed: packages are unpacked in there.
# Apart from what it prints last it speaks on stderr. Needs Debian 12's archive, dpkg-dev and gcc.
set -euo pipefail
exec 3>&1 1>&2

version=1.20.5+really1.20.2-1.1+deb12u1
cache=${XDG_CACHE_HOME:-$HOME/.cache}/modelhub-kubernetes
ready=$cache/1.20.2 work=$cache/building
if [ -e "$ready" ]; then
  echo "$ready" >&3
  exit
fi
for command in apt-get dpkg-source dpkg-deb gcc podman; do
  command -v "$command" > /dev/null || { echo "there is no $command: Kubernetes is not built"; exit 2; }
done
mkdir -p "$work"
exec 9> "$cache/lock"
flock 9 # one build at a time

apt() { # Debian's archive as the machine knows it, its sources too; the machine's own lists stay
  apt-get -qq -o Dir::Etc::SourceList=/dev/null -o "Dir::Etc::SourceParts=$work/apt/sources" \
    -o "Dir::State::Lists=$work/apt/lists" -o "Dir::Cache=$work/apt/cache" \
    -o APT::Sandbox::User=root "$@"
}

fetch() { # packages unpacked into $root, the source into $tree
  local packages=(golang-1.19-go golang-1.19-src golang-github-modern-go-reflect2-dev
    golang-github-json-iterator-go-dev etcd-server containerd containernetworking-plugins)
  mkdir -p "$work"/apt/{sources,lists/partial,cache/archives/partial} "$work/packages"
  cp /etc/apt/sources.list.d/debian.sources "$work/apt/sources/"
  sed -i 's/^Types: .*/Types: deb deb-src/' "$work/apt/sources/debian.sources"
  apt update
  (cd "$work/packages" && apt download "${packages[@]}" && apt source --download-only "kubernetes=$version")
  for package in "$work"/packages/*.deb; do dpkg-deb -x "$package" "$root"; done
  rm -rf "$tree"
  mkdir -p "$(dirname "$tree")"
  dpkg-source --no-check -x "$work"/packages/kubernetes_*.dsc "$tree"
}

mend() { # its reflect2 and json-iterator are older than Go 1.18: the API server would crash on a CRD
  local name
  for name in github.com/modern-go/reflect2 github.com/json-iterator/go; do
    rm -rf "${tree:?}/vendor/$name"
    mkdir -p "$tree/vendor/$name"
    cp -r "$root/usr/share/gocode/src/$name/." "$tree/vendor/$name/"
    find "$tree/vendor/$name" -name '*_test.go' -delete
  done
}

generate() { # the one generated file that Debian's source lacks
  local tagged
  go build -o "$work/openapi-gen" ./vendor/k8s.io/kube-openapi/cmd/openapi-gen
  tagged=$(grep -rl --include='*.go' '+k8s:openapi-gen=' pkg plugin cmd staging/src/k8s.io vendor/k8s.io \
    | grep -vE '_test.go|zz_generated|/code-generator/|/sample-apiserver/|/gengo/|/kube-openapi/cmd' \
    | xargs -n1 dirname \
    | sed -E 's#^staging/src/##; s#^vendor/k8s.io#k8s.io#; t; s#^(pkg|plugin|cmd)#k8s.io/kubernetes/\1#' \
    | sed -E 's#^k8s.io/#k8s.io/kubernetes/vendor/k8s.io/#' \
    | sed -E 's#^k8s.io/kubernetes/vendor/k8s.io/kubernetes/#k8s.io/kubernetes/#' | sort -u | paste -sd,)
  "$work/openapi-gen" --logtostderr -i "$tagged" -p k8s.io/kubernetes/pkg/generated/openapi \
    -O zz_generated.openapi -h hack/boilerplate/boilerplate.generatego.txt \
    -r "$work/openapi.report" --output-base "$GOPATH/src"
}

compile() { # into $work/bin, telling its version as a release does
  local stamp="" package
  for package in component-base/version client-go/pkg/version; do
    package=k8s.io/kubernetes/vendor/k8s.io/$package
    stamp+=" -X $package.gitVersion=v1.20.2 -X $package.gitMajor=1 -X $package.gitMinor=20"
  done
  go build -p 2 -ldflags "-s -w$stamp" -o "$work/bin/" ./cmd/kube-apiserver \
    ./cmd/kube-controller-manager ./cmd/kube-scheduler ./cmd/kubelet ./cmd/kube-proxy
}

pause() { # the container that holds a pod's namespaces
  rm -rf "$work/pause" "$work/pause.tar"
  mkdir "$work/pause"
  gcc -Os -Wall -static -DVERSION=3.2 -o "$work/pause/pause" build/pause/linux/pause.c
  printf 'FROM scratch\nCOPY pause /pause\nENTRYPOINT ["/pause"]\n' > "$work/pause/Containerfile"
  (cd "$here/.." && ENGINE=podman && . deploy/engine.sh && cd "$work/pause" \
    && podman build --quiet "${build_flags[@]}" --tag localhost/modelhub-pause:3.2 . \
    && podman save --quiet --output "$work/pause.tar" localhost/modelhub-pause:3.2 \
    && podman rmi localhost/modelhub-pause:3.2)
}

here=$(cd "$(dirname "$0")/.." && pwd)
root=$work/root
tree=$work/gopath/src/k8s.io/kubernetes
export GO111MODULE=off GOPATH=$work/gopath GOCACHE=$work/gocache CGO_ENABLED=0
export GOROOT=$root/usr/lib/go-1.19 PATH=$root/usr/lib/go-1.19/bin:$PATH GOFLAGS=
[ -e "$work/fetched" ] || { fetch; touch "$work/fetched"; }
cd "$tree"
[ -e "$work/generated" ] || { mend; generate; touch "$work/generated"; }
compile
pause

rm -rf "$work/ready"
mkdir "$work/ready"
mv "$work/bin" "$work/pause.tar" "$work/ready/"
cp "$root"/usr/bin/{etcd,containerd,containerd-shim-runc-v2,ctr} "$work/ready/bin/"
mkdir "$work/ready/cni"
cp "$root"/usr/lib/cni/{bridge,host-local,loopback,portmap} "$work/ready/cni/"
mv "$work/ready" "$ready"
rm -rf "$work"
echo "$ready" >&3
