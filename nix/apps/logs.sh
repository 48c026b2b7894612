#!/usr/bin/env bash
# Follows the logs of the pods, each line with the name of its pod.
set -euo pipefail

usage() {
  cat <<'U'
Usage: logs [--profile NAME] [--overlay NAME] [--no-follow] [NAME…]

Follows the logs of the producer and the consumer, or of those that are named.

  --profile NAME   minikube's profile (default: $MINIKUBE_PROFILE, else minikube)
  --overlay NAME   the overlay that was deployed, whose namespace is looked into (default: minikube)
  --no-follow      print what there is and stop
U
}

# shellcheck source=nix/apps/steps.sh
. "${BASH_SOURCE[0]%/*}/steps.sh"

follow=--follow
names=()
options "$@"
for argument in "${rest[@]}"; do
  case $argument in
    --no-follow) follow= ;;
    -*) misused "unknown argument '$argument'" ;;
    *) names+=("$argument") ;;
  esac
done
((${#names[@]})) || names=(producer consumer)
need_running_cluster
need_overlay

selector="app.kubernetes.io/name in ($(IFS=, && echo "${names[*]}"))"
[ -n "$(k get pods -l "$selector" -o name)" ] || fail "no pod is named ${names[*]}: has it been deployed? ('nix run .#deploy')"
# More than kubectl's five streams at once, for a Deployment that was scaled.
k logs ${follow:+"$follow"} --tail=-1 --prefix --max-log-requests=50 -l "$selector"
