#!/usr/bin/env bash
# the overlay applies without a warning, and three pods come to run
. "$E2E/cluster.sh"

warnings=$(kubectl apply -k "$OVERLAY" 2>&1 >/dev/null)
same "warnings" "" "$warnings"
all_rolled_out
pods=$(k get pods --no-headers)
same "running pods" 3 "$(grep -c ' 1/1 *Running ' <<<"$pods")"
for service in producer consumer; do
  grace=$(k get "deployment/$service" -o jsonpath='{.spec.template.spec.terminationGracePeriodSeconds}')
  settings=$(k get "deployment/$service" -o jsonpath='{.spec.template.spec.containers[?(@.name=="app")].envFrom[0].configMapRef.name}')
  drain=$(k get configmap "$settings" -o jsonpath='{.data.SHUTDOWN_GRACE}')
  ((grace >= $(seconds "$drain") + 5)) || fail "$service drains for $drain, and its pod is killed after $grace s"
done
while read -r pod; do say "$pod"; done <<<"$pods"
