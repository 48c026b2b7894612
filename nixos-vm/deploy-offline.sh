#!/usr/bin/env bash
# Applies an overlay to the cluster of this machine as soon as there is one, and says what it waits for.
# The one argument is the overlay's folder. Started by lifeline-deploy.service.
set -euo pipefail
overlay=$1

say() { echo "lifeline: $*"; }

# await WHAT COMMAND…
await() {
  local what=$1
  shift
  say "waiting for $what"
  until "$@" >/dev/null 2>&1; do sleep 1; done
}

node_is_ready() { kubectl wait --for=condition=Ready node --all --timeout=10s; }

await "the API server" kubectl get --raw /readyz
await "the node" node_is_ready

say "applying $overlay"
applied=$(kubectl apply -k "$overlay")
echo "$applied"

# An overlay puts everything into one namespace.
rendered=$(kubectl kustomize "$overlay")
namespace=$(sed -n '/^  namespace: /{s///p;q}' <<<"$rendered")
while read -r object _; do
  [[ $object == deployment.apps/* ]] || continue
  kubectl --namespace "${namespace:-default}" rollout status "$object" --timeout=20m </dev/null
done <<<"$applied"

# The runner on the host shares a folder, and says in it under which address the host sees the API server.
if [ -f /tmp/shared/server ]; then
  sed "s|server: .*|server: $(</tmp/shared/server)|" "$KUBECONFIG" >/tmp/shared/kubeconfig
fi
say "the pods run"
