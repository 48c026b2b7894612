#!/usr/bin/env bash
# the overlay applies without a warning, and three pods come to run
. "$E2E/cluster.sh"

warnings=$(kubectl apply -k "$OVERLAY" 2>&1 >/dev/null)
same "warnings" "" "$warnings"
all_rolled_out
pods=$(k get pods --no-headers)
same "running pods" 3 "$(grep -c ' 1/1 *Running ' <<<"$pods")"
while read -r pod; do say "$pod"; done <<<"$pods"
