# Sourced: which container engine, and what this machine needs to be told. Sets engine, build_flags.
engine=${ENGINE:-$(command -v podman || command -v docker)} \
  || { echo "neither podman nor docker is here (make deploy-tools installs podman)" >&2; exit 2; }
engine=$(basename "$engine")
build_flags=()
if [ "$engine" = podman ]; then
  build_flags=(--format docker) # OCI's own format has no health check
  if [ ! -d /run/systemd/system ]; then
    # No systemd: cgroups and limits have to be asked for in plainer ways.
    export CONTAINERS_CONF=${CONTAINERS_CONF:-$PWD/deploy/containers.conf}
    build_flags+=(--network host)
  fi
fi
