#!/usr/bin/env bash
# SNS and SQS hang for a minute, while the consumer is rolled out: nothing restarts, nothing is lost
. "$E2E/cluster.sh"
. "$E2E/messages.sh"
. "$E2E/helpers.sh"

k get deployment -l app.kubernetes.io/component=aws --no-headers 2>/dev/null | grep -q . ||
  skip "this overlay has no SNS and SQS of its own to stop"
altering
make_elsewhere
deployment=$(k get deployment -l app.kubernetes.io/component=aws -o jsonpath='{.items[0].metadata.name}')
# Its own probes would restart it, and with it would go what it holds.
k patch "deployment/$deployment" --type=strategic -p \
  '{"spec":{"template":{"spec":{"containers":[{"name":"app","livenessProbe":null,"readinessProbe":null,"startupProbe":null}]}}}}' >/dev/null
rolled_out "$deployment" 300s
aws=$(pod_of "$deployment")
consumer_with MAX_RECEIVES=5
producer=$(pod_of producer) consumer=$(pod_of consumer)
make_node "$aws"
at_end "signal '$aws' CONT"
collect_logs
numbered 1 900 | start_publishing 20
until_true 30 "the first messages" has_deleted 40
signal "$aws" STOP
k rollout restart deployment/consumer >/dev/null
sleep 60
same "the consumer that was there" "$consumer" "$(pods_of consumer | grep -Fx "$consumer")"
for pod in "$producer" "$consumer"; do same "restarts of $pod" 0 "$(restarts_of "$pod")"; done
signal "$aws" CONT
back=$SECONDS
rolled_out consumer
say "rolled out $((SECONDS - back)) s after SNS and SQS were back"
finish_publishing 180 900
all_gone 300 900
say "900 of 900 handled, $(redelivered) redelivered"
