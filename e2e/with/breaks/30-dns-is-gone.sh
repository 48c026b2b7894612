#!/usr/bin/env bash
# names do not resolve for 40 s, and the consumer is killed meanwhile: it comes back by itself
. "$E2E/cluster.sh"
. "$E2E/messages.sh"
. "$E2E/helpers.sh"

kubectl -n kube-system get deployment coredns >/dev/null 2>&1 || skip "this cluster's DNS is not the Deployment coredns"
dns() { kubectl -n kube-system "$@"; }
altering
make_elsewhere
consumer_with MAX_RECEIVES=5
pod=$(pod_of consumer)
make_node "$pod"
collect_logs
numbered 1 900 | start_publishing 20
until_true 30 "the first messages" has_deleted 40
replicas=$(dns get deployment coredns -o jsonpath='{.spec.replicas}')
at_end "dns scale deployment coredns --replicas=$replicas >/dev/null; dns rollout status deployment coredns --timeout=120s >/dev/null"
dns scale deployment coredns --replicas=0 >/dev/null
no_dns() { [[ -z $(dns get pods -l k8s-app=kube-dns -o name) ]]; }
until_true 60 "DNS to be gone" no_dns
signal "$pod" KILL
sleep 40
dns scale deployment coredns --replicas="$replicas" >/dev/null
dns rollout status deployment coredns --timeout=120s >/dev/null
back=$SECONDS
until_true 60 "$pod to be ready" ready "$pod"
say "ready $((SECONDS - back)) s after DNS was back"
finish_publishing 180 900
all_gone 300 900
say "900 of 900 handled, $(redelivered) redelivered"
