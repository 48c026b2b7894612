#!/usr/bin/env bash
# the self-check in each container prints the health body and exits 0
. "$E2E/cluster.sh"

for service in producer consumer; do
  answer=$(k exec "$(pod_of "$service")" -c app -- "$service" health) || fail "$service health exits $?"
  same "$service health" '{ "status": "UP!" }' "$answer"
  say "kubectl exec $(pod_of "$service") -- $service health   # $answer"
done
