#!/usr/bin/env bash
# Takes away what `deploy` made.
set -euo pipefail

usage() {
  cat <<'U'
Usage: teardown [--profile NAME] [--overlay NAME] [--cluster]

Deletes the objects of an overlay and the images that were loaded for it; without a running cluster there is
nothing to do.

  --profile NAME   minikube's profile (default: $MINIKUBE_PROFILE, else minikube)
  --overlay NAME   a folder of kustomize/overlays (default: minikube)
  --cluster        delete minikube's cluster too
U
}

# shellcheck source=nix/apps/steps.sh
. "${BASH_SOURCE[0]%/*}/steps.sh"

cluster=
options "$@"
for argument in "${rest[@]}"; do
  [ "$argument" = --cluster ] || misused "unknown argument '$argument'"
  cluster=yes
done
need_cluster
need_overlay
make_scratch

if cluster_runs && [ -z "$cluster" ]; then
  begin "Deleting what kustomize/overlays/$overlay made"
  k delete -k "$LIFELINE_KUSTOMIZE/overlays/$overlay" --ignore-not-found --wait >"$scratch/deleted" 2>"$scratch/delete.log" ||
    fail "kubectl could not delete kustomize/overlays/$overlay: $(tail -n 1 "$scratch/delete.log")"
  # The generated ConfigMaps of earlier deployments have names that the overlay no longer knows.
  k delete configmap -l app.kubernetes.io/part-of=lifeline --ignore-not-found >>"$scratch/deleted" 2>"$scratch/delete.log" ||
    fail "kubectl could not delete the ConfigMaps: $(tail -n 1 "$scratch/delete.log")"
  sed 's/^/    /' "$scratch/deleted"
  end "deleted"

  # Another namespace may have a Lifeline of its own, which would not start again without them.
  others=$(kubectl --context "$profile" get pods --all-namespaces -l app.kubernetes.io/part-of=lifeline \
    -o go-template='{{range .items}}{{.metadata.namespace}}{{"\n"}}{{end}}' 2>"$scratch/pods.log" | grep -vx "${namespace:-default}" | sort -u) || true
  if [ -n "$others" ]; then
    echo "==> The images stay: Lifeline runs in ${others//$'\n'/, } too"
  else
    begin "Removing the images from the node"
    for tag in $(node_images | jq -r '.[]?.repoTags[]?'); do
      for folder in "$LIFELINE_IMAGES"/*/; do
        [[ $tag == "$(<"${folder}name"):"* ]] || continue
        minikube -p "$profile" image rm "$tag" >/dev/null 2>&1 || fail "minikube could not remove $tag"
        printf '    %s\n' "$tag"
      done
    done
    end "removed"
  fi
elif [ -z "$cluster" ]; then
  echo "No cluster runs in minikube's profile '$profile': nothing to do."
else
  begin "Deleting minikube's profile '$profile'"
  minikube delete -p "$profile" || fail "minikube could not delete its profile '$profile'"
  end "deleted"
fi
