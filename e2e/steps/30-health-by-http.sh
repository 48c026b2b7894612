#!/usr/bin/env bash
# /health, /ready and /metrics answer over the network, as the contract says to the byte
. "$E2E/cluster.sh"

for service in producer consumer; do
  pod=$(pod_of "$service")
  same "$service /health" '{ "status": "UP!" }' "$(raw "$pod" health)"
  raw "$pod" ready >/dev/null || fail "$service /ready is not 200"
  grep -q "^${service}_" <<<"$(raw "$pod" metrics)" || fail "$service /metrics has none of its own"
  if raw "$pod" nothing >/dev/null 2>&1; then fail "$service /nothing is not 404"; fi
done
