#!/usr/bin/env bash
# the network policies refuse strangers and stop nothing that the services need
. "$E2E/cluster.sh"
. "$E2E/messages.sh"
. "$E2E/helpers.sh"

k get service aws >/dev/null 2>&1 || skip "this overlay has no Service aws for strangers to reach"
aws=http://aws.$NAMESPACE:4566/_localstack/health

# reaches NAMESPACE POD URL
reaches() { kubectl --namespace "$1" exec "$2" -- curl -sS --globoff -m 3 -o /dev/null "$3" >/dev/null 2>&1; }
refused() { ! reaches "$@"; }

make_elsewhere
for pod in control stranger collector; do idle_pod "$ELSEWHERE" "$pod"; done
for pod in control stranger; do
  reaches "$ELSEWHERE" "$pod" "$aws" || fail "$pod does not reach $aws before there is any policy"
done

# A policy that says no to one pod tells whether this cluster enforces any.
elsewhere apply -f - >/dev/null <<'Y'
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: control}
spec:
  podSelector: {matchLabels: {app: control}}
  policyTypes: [Egress]
Y
enforced=''
for _ in $(seq 30); do
  if refused "$ELSEWHERE" control "$aws"; then enforced=yes && break; fi
  sleep 1
done
[[ -n $enforced ]] || skip "this cluster's network plugin enforces no policies"

folder=$(mktemp -d)
at_end "rm -rf '$folder'"
on_top "$folder" network-policies
kubectl kustomize "$folder" | of_kind NetworkPolicy | k apply -f - >/dev/null
at_end 'k delete networkpolicy -l app.kubernetes.io/part-of=lifeline >/dev/null'
until_true 60 "a stranger to be refused by SNS and SQS" refused "$ELSEWHERE" stranger "$aws"
say "from $ELSEWHERE: aws:4566 refused"

address=$(k get pod "$(pod_of consumer)" -o jsonpath='{.status.podIP}')
[[ $address != *:* ]] || address="[$address]"
reaches "$ELSEWHERE" collector "http://$address:5000/metrics" || fail "metrics cannot be collected from another namespace"
say "from $ELSEWHERE: /metrics answers"

# New pods look names up and connect anew.
altering
consumer_with MAX_RECEIVES=5
collect_logs
numbered 1 100 | publish 120 policed
none_lost 60 100
none_doubled 100
say "behind the policies a new consumer handled 100 of 100 messages"
