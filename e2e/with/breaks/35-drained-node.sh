#!/usr/bin/env bash
# a node is drained while three consumers work on it: the budget holds, and nothing is lost
. "$E2E/cluster.sh"
. "$E2E/messages.sh"
. "$E2E/helpers.sh"

altering
folder=$(mktemp -d)
at_end "rm -rf '$folder'"
on_top "$folder" disruption-budget
kubectl kustomize "$folder" | of_kind PodDisruptionBudget | k apply -f - >/dev/null
at_end 'k delete poddisruptionbudget -l app.kubernetes.io/part-of=lifeline >/dev/null'
consumer_with MAX_RECEIVES=5
k scale deployment/consumer --replicas=3 >/dev/null
rolled_out consumer
node=$(k get pod "$(pod_of consumer)" -o jsonpath='{.spec.nodeName}')
collect_logs
numbered 1 900 | start_publishing 20
until_true 30 "the first messages" has_deleted 40
at_end "kubectl uncordon '$node' >/dev/null"
# On a single node the pod that replaces the first has no place, and the budget lets no second one go.
# Ours alone, by the hash of a template that names this run's queue: a drain knows no namespaces.
template=$(k get pod "$(pod_of consumer)" -o jsonpath='{.metadata.labels.pod-template-hash}')
kubectl drain "$node" --ignore-daemonsets --timeout=30s \
  --pod-selector="app.kubernetes.io/name=consumer,pod-template-hash=$template" >/dev/null 2>&1 || true
working=$(k get deployment consumer -o go-template='{{or .status.readyReplicas 0}}')
((working >= 2)) || fail "$working of 3 consumers were left by the drain"
kubectl uncordon "$node" >/dev/null
back=$SECONDS
rolled_out consumer
say "three consumers again $((SECONDS - back)) s after the node was back"
finish_publishing 180 900
none_lost 180 900
none_doubled 900
say "900 of 900 messages handled once, $(redelivered) redelivered"
