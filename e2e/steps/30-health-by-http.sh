#!/usr/bin/env bash
# /health, /ready and /metrics answer over the network, as the contract says to the byte
. "$E2E/cluster.sh"

# Through the API server, since there may be no route to a pod from here.
get() { kubectl get --raw "/api/v1/namespaces/$NAMESPACE/pods/$1:5000/proxy/$2"; }

for service in producer consumer; do
  pod=$(pod_of "$service")
  same "$service /health" '{ "status": "UP!" }' "$(get "$pod" health)"
  get "$pod" ready >/dev/null || fail "$service /ready is not 200"
  grep -q "^${service}_" <<<"$(get "$pod" metrics)" || fail "$service /metrics has none of its own"
  if get "$pod" nothing >/dev/null 2>&1; then fail "$service /nothing is not 404"; fi
done
