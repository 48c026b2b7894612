#!/usr/bin/env bash
# Runs one of the two virtual machines and takes everything it wrote away when it ends.
#   LIFELINE_VM         the program that starts it        LIFELINE_VM_KIND    k3s or minikube
#   LIFELINE_VM_MEMORY  its memory in MiB by default      LIFELINE_VM_CORES   its cores by default
set -euo pipefail

usage() {
  local name=vm
  [ "$LIFELINE_VM_KIND" = k3s ] || name=vm-minikube
  cat <<U
Usage: $name [--memory MIB] [--cores N] [--no-kvm]${ports_usage:-}

Starts a virtual machine with $about, on this terminal.
\`poweroff\` in it, or Ctrl-a x, ends it; nothing is kept.

  --memory MIB           its memory (default: $memory)
  --cores N              its processors (default: $cores)
  --no-kvm               emulate it, about ten times slower: where /dev/kvm opens and does not work, as in some
                         virtual machines
U
  [ "$LIFELINE_VM_KIND" != k3s ] || cat <<U
  --api-port PORT        Kubernetes' API on this machine's loopback (default: $api_port)
  --producer-port PORT   the producer's health port, likewise (default: $producer_port)
  --consumer-port PORT   the consumer's (default: $consumer_port)
  --minikube             says how to start the other machine: Docker and minikube, which needs the network
U
}

# shellcheck source=nix/apps/steps.sh
. "${BASH_SOURCE[0]%/*}/steps.sh"

kvm=yes
memory=$LIFELINE_VM_MEMORY
cores=$LIFELINE_VM_CORES
api_port=6443
producer_port=5001
consumer_port=5002
if [ "$LIFELINE_VM_KIND" = k3s ]; then
  about="k3s and the pipeline in it; it needs no network"
  ports_usage=" [--api-port PORT] [--producer-port PORT] [--consumer-port PORT] [--minikube]"
else
  about="Docker, minikube and kubectl, for the LocalStack deployment; it needs the network"
fi

number() {
  [[ ${2-} =~ ^[1-9][0-9]*$ ]] || misused "$1 needs a number, not '${2-}'"
  printf '%s' "$2"
}
port() {
  local port
  port=$(number "$@")
  ((port < 65536)) || misused "$1 needs a port, and $port is none"
  (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && fail "port $port of this machine is taken: choose another with $1"
  printf '%s' "$port"
}

while (($#)); do
  case $1 in
    --help | -h) usage && exit 0 ;;
    --minikube) fail "that is a machine of its own: nix run .#vm-minikube" ;;
    --no-kvm) kvm='' ;;
    --memory)
      memory=$(number "$@")
      shift
      ;;
    --cores)
      cores=$(number "$@")
      shift
      ;;
    --api-port)
      api_port=$(number "$@")
      shift
      ;;
    --producer-port)
      producer_port=$(number "$@")
      shift
      ;;
    --consumer-port)
      consumer_port=$(number "$@")
      shift
      ;;
    *) misused "unknown argument '$1'" ;;
  esac
  shift
done

make_scratch
export TMPDIR=$scratch USE_TMPDIR=1 SHARED_DIR=$scratch/shared NIX_DISK_IMAGE=
mkdir "$SHARED_DIR"
# Later options win, so that these override what the machine was built with.
export QEMU_OPTS="-m $memory -smp $cores ${QEMU_OPTS-}"

if [ -z "$kvm" ]; then
  # As an option of the machine: QEMU refuses -accel beside the runner's own -machine accel=….
  QEMU_OPTS="-machine accel=tcg $QEMU_OPTS"
elif ! [ -w /dev/kvm ]; then
  echo "There is no usable /dev/kvm: the machine is emulated, and about ten times slower."
  kvm=''
fi
if [ "$LIFELINE_VM_KIND" = k3s ]; then
  forwards=
  for forward in "--api-port $api_port 6443" "--producer-port $producer_port 5001" "--consumer-port $consumer_port 5002"; do
    read -r option host guest <<<"$forward"
    port "$option" "$host" >/dev/null
    forwards+=${forwards:+,}hostfwd=tcp:127.0.0.1:$host-:$guest
  done
  export QEMU_NET_OPTS=$forwards${QEMU_NET_OPTS:+,$QEMU_NET_OPTS}
  echo "https://127.0.0.1:$api_port" >"$SHARED_DIR/server"
  cat <<T
From this machine, once the pods run and until the virtual one ends:
  export KUBECONFIG=$SHARED_DIR/kubeconfig
  kubectl -n lifeline get pods
  curl http://127.0.0.1:$producer_port/health    # the producer
  curl http://127.0.0.1:$consumer_port/health    # the consumer
T
else
  export NIX_DISK_IMAGE=$scratch/disk.qcow2
  echo "This machine needs the network: minikube's images and LocalStack's come from there."
fi

# Not exec: what it wrote is to be taken away afterwards.
code=0
"$LIFELINE_VM" || code=$?
if ((code != 0)) && [ -n "$kvm" ]; then
  echo "The machine ended with exit code $code. If QEMU spoke of KVM, or showed nothing, try --no-kvm." >&2
fi
exit "$code"
