#!/usr/bin/env bash
# From nothing to running pods on minikube; run again, it changes what changed and nothing else.
set -euo pipefail

usage() {
  cat <<'U'
Usage: deploy [--profile NAME] [--overlay NAME] [--debug] [--timeout DURATION]

Starts minikube if it does not run, loads the images into it, applies an overlay with the images' own hash tags,
waits for the rollout and shows the pods. Run again, it rolls what changed and leaves the rest alone.

  --profile NAME       minikube's profile (default: $MINIKUBE_PROFILE, else minikube)
  --overlay NAME       a folder of kustomize/overlays (default: minikube)
  --debug              the images with busybox and curl, for `kubectl exec POD -- curl http://0.0.0.0:5000/health`
  --timeout DURATION   how long each rollout may take (default: 5m; the first one pulls LocalStack)

MINIKUBE_DRIVER chooses minikube's driver, as ever; without it, docker is asked for first.
U
}

# shellcheck source=nix/apps/steps.sh
. "${BASH_SOURCE[0]%/*}/steps.sh"

timeout=5m
debug=
options "$@"
set -- "${rest[@]}"
while (($#)); do
  case $1 in
    --timeout)
      [ -n "${2-}" ] || misused "--timeout needs a duration"
      timeout=$2
      shift
      ;;
    --timeout=?*) timeout=${1#*=} ;;
    --debug) debug=yes ;;
    *) misused "unknown argument '$1'" ;;
  esac
  shift
done
need_cluster
need_overlay
need_graces
make_scratch

# A profile that exists keeps the driver and the runtime that it was made with: minikube refuses to start it with others.
#
# For a new one containerd is named explicitly: minikube's default changed in 1.39, and with the docker runtime `kubectl exec`
# into Kubernetes 1.36 needs a setting that only newer releases make.
profile_exists() {
  minikube profile list --output json 2>/dev/null |
    jq -e --arg profile "$profile" '[.valid[]?, .invalid[]?] | any(.Name == $profile)' >/dev/null 2>&1
}
start_cluster() {
  local driver
  if profile_exists; then
    minikube start -p "$profile" ||
      fail "minikube could not start its profile '$profile'; what it printed is above ('nix run .#teardown -- --cluster' deletes the profile)"
    return
  fi
  driver=${MINIKUBE_DRIVER:-$(minikube config get driver 2>/dev/null || echo docker)}
  if [ "$driver" = docker ]; then
    command -v docker >/dev/null ||
      fail "docker is not installed, or not on PATH, and minikube needs it: install it, or choose another driver with MINIKUBE_DRIVER"
    docker info >/dev/null 2>&1 || fail "docker does not answer, and minikube needs it: start it, or choose another driver with MINIKUBE_DRIVER"
  fi
  minikube start -p "$profile" --driver="$driver" --container-runtime=containerd ||
    fail "minikube could not start its profile '$profile' (driver $driver); what it said is above"
}

begin "Looking for a cluster in minikube's profile '$profile'"
if cluster_runs; then
  end "it runs"
else
  start_cluster
  end "started"
fi

images_of_overlay
loaded=("${wanted[@]}")
if [ -n "$debug" ]; then
  for i in "${!loaded[@]}"; do
    [ ! -d "${loaded[i]}-debug" ] || loaded[i]+=-debug
  done
fi
load_images "${loaded[@]}"

begin "Applying kustomize/overlays/$overlay"
# kustomize takes no absolute path as a resource, so that the overlay that names the hash tags stands beside the others.
cp -R "$LIFELINE_KUSTOMIZE" "$scratch/kustomize"
chmod -R u+w "$scratch/kustomize"
mkdir "$scratch/kustomize/overlays/.deploy"
{
  printf 'resources:\n  - ../%s\nimages:\n' "$overlay"
  for i in "${!wanted[@]}"; do
    printf '  - name: %s\n    newName: %s\n    newTag: "%s"\n' \
      "$(<"${wanted[i]}/name")" "$(<"${loaded[i]}/name")" "$(<"${loaded[i]}/content")"
  done
} >"$scratch/kustomize/overlays/.deploy/kustomization.yaml"
k apply -k "$scratch/kustomize/overlays/.deploy" >"$scratch/applied" 2>"$scratch/apply.log" ||
  fail "kubectl could not apply kustomize/overlays/$overlay: $(tail -n 1 "$scratch/apply.log")"
sed 's/^/    /' "$scratch/applied"
end "applied"

begin "Waiting for the rollout, $timeout at most for each Deployment"
while read -r object _; do
  [[ $object == deployment.apps/* ]] || continue
  # Not in the while's standard input, which kubectl would read.
  if ! k rollout status "$object" --timeout="$timeout" </dev/null 2>"$scratch/rollout.log" | tail -n 1 | sed 's/^/    /'; then
    k get pods >&2 || true
    fail "$object is not ready after $timeout: $(tail -n 1 "$scratch/rollout.log"); 'kubectl --context $profile describe $object' says more"
  fi
done <"$scratch/applied"
end "all are ready"

k get pods
cat <<T

The pods' logs:        kubectl --context $profile --namespace ${namespace:-default} logs -f deployment/consumer
Is it alive?           kubectl --context $profile --namespace ${namespace:-default} exec deployment/producer -- producer health
All at once:           nix run .#logs -- --profile $profile --overlay $overlay
Away with it:          nix run .#teardown -- --profile $profile --overlay $overlay
T
