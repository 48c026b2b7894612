#!/usr/bin/env bash
# Puts the images into minikube's node, so that `kubectl apply -k kustomize/overlays/…` finds them.
set -euo pipefail

usage() {
  cat <<'U'
Usage: load-images [--profile NAME] [--overlay NAME | --debug]

Loads the images into the node of a running minikube, each under the tag that the overlays name and under a tag
that is a hash of its content, and makes sure that the node lists them. After it,
`kubectl apply -k kustomize/overlays/minikube` works.

  --profile NAME   minikube's profile (default: $MINIKUBE_PROFILE, else minikube)
  --overlay NAME   only the images that this folder of kustomize/overlays names (default: producer, consumer, lifeline)
  --debug          the variants with busybox and curl too
U
}

# shellcheck source=nix/apps/steps.sh
. "${BASH_SOURCE[0]%/*}/steps.sh"

overlay=
debug=
options "$@"
for argument in "${rest[@]}"; do
  [ "$argument" = --debug ] || misused "unknown argument '$argument'"
  debug=yes
done
need_running_cluster
[ -z "$overlay" ] || need_overlay
make_scratch

wanted=()
if [ -n "$overlay" ]; then
  images_of_overlay
else
  for folder in "$LIFELINE_IMAGES"/*/; do
    [[ $folder == *-debug/ && -z $debug ]] || wanted+=("${folder%/}")
  done
fi
load_images "${wanted[@]}"
