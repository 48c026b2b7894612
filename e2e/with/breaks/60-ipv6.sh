#!/usr/bin/env bash
# where pods have IPv6 addresses, health answers on them and messages flow
. "$E2E/cluster.sh"
. "$E2E/messages.sh"
. "$E2E/helpers.sh"

addresses=$(k get pod "$(pod_of consumer)" -o jsonpath='{.status.podIPs[*].ip}')
[[ $addresses == *:* ]] || skip "this cluster's pods have no IPv6 addresses ($addresses)"
make_elsewhere
idle_pod "$ELSEWHERE" curl
for service in producer consumer; do
  for address in $(k get pod "$(pod_of "$service")" -o jsonpath='{.status.podIPs[*].ip}'); do
    [[ $address == *:* ]] || continue
    answer=$(elsewhere exec curl -- curl -sS --globoff -m 3 "http://[$address]:5000/health")
    same "$service on [$address]" '{ "status": "UP!" }' "$answer"
  done
done
altering
consumer_with MAX_RECEIVES=5
collect_logs
numbered 1 100 | publish 120 ipv6
none_lost 60 100
none_doubled 100
say "$addresses: health answers, 100 of 100 messages handled once"
