#!/usr/bin/env bash
# Build the image, by podman or docker. Set by environment:
#   IMAGE   its name (modelhub:VERSION)       EXTRA   serve, serve-gpu or train (serve)
#   BASE    Debian 12 (docker.io/library/debian:bookworm-slim). Where it cannot be pulled and
#           mmdebstrap is there, a stand-in is made from Debian's own packages, and it says so.
#   ENGINE  podman or docker
set -euo pipefail
cd "$(dirname "$0")/.."
. deploy/engine.sh

version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
image=${IMAGE:-modelhub:$version}
base=${BASE:-docker.io/library/debian:bookworm-slim}

stand_in() { # much like the official slim image: no recommended packages, no documentation
  local rootfs=.tools/base.tar hidden=(--dpkgopt='path-exclude=/usr/share/man/*'
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*')
  mkdir -p .tools
  mmdebstrap --quiet --variant=minbase --aptopt='APT::Install-Recommends "false"' "${hidden[@]}" \
    --include=usr-is-merged --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr bookworm "$rootfs"
  "$engine" import "$rootfs" "$1" > /dev/null
  rm "$rootfs"
}

if ! "$engine" image inspect "$base" > /dev/null 2>&1 && ! "$engine" pull "$base" > /dev/null 2>&1; then
  command -v mmdebstrap > /dev/null || { echo "$base cannot be pulled, and there is no mmdebstrap" \
    "to make a stand-in (make deploy-tools installs it)" >&2; exit 2; }
  echo "$base cannot be pulled: building on localhost/debian:bookworm-stand-in, made by mmdebstrap" >&2
  base=localhost/debian:bookworm-stand-in
  "$engine" image inspect "$base" > /dev/null 2>&1 || stand_in "$base"
fi

# A certificate authority of the host's own counts in the build, and stays out of the image.
trust=()
[ -z "${PIP_CERT:-}" ] || trust=(--secret "id=ca,src=$PIP_CERT")

"$engine" build --file deploy/Containerfile --tag "$image" "${build_flags[@]}" "${trust[@]}" \
  --build-arg "BASE=$base" --build-arg "EXTRA=${EXTRA:-serve}" --build-arg "VERSION=$version" \
  --build-arg "REVISION=$(git rev-parse HEAD 2> /dev/null || echo unknown)" .
bytes=$("$engine" image inspect --format '{{.Size}}' "$image")
echo "$image: $((bytes / 1000000)) MB"
