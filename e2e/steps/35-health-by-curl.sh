#!/usr/bin/env bash
# in the debug images, the health check works with plain curl: curl http://0.0.0.0:5000/health
. "$E2E/cluster.sh"

altering
for service in producer consumer; do
  image=$(k get "deployment/$service" -o jsonpath='{.spec.template.spec.containers[?(@.name=="app")].image}')
  k set image "deployment/$service" "app=${image%:*}-debug:${image##*:}" >/dev/null
done
for service in producer consumer; do
  rolled_out "$service" 60s
  pod=$(pod_of "$service")
  answer=$(k exec "$pod" -c app -- curl -s http://0.0.0.0:5000/health) || fail "curl in $pod exits $?"
  same "$service by curl" '{ "status": "UP!" }' "$answer"
  say "kubectl exec $pod -- curl http://0.0.0.0:5000/health   # $answer"
done
