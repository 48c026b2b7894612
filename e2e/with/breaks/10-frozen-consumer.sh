#!/usr/bin/env bash
# a consumer that is stopped (SIGSTOP) is restarted by its probe
. "$E2E/cluster.sh"
. "$E2E/messages.sh"
. "$E2E/helpers.sh"
. "$E2E/probes.sh"

altering
make_elsewhere
consumer_with MAX_RECEIVES=5
pod=$(pod_of consumer)
make_node "$pod"
collect_logs
numbered 1 600 | start_publishing 20
until_true 30 "the first messages" has_deleted 40
signal "$pod" STOP
stopped=$SECONDS
until_true 90 "the probe to have the consumer restarted" killed_by_probe "$pod"
until_true 90 "a restart of $pod" restarted "$pod"
until_true 60 "$pod to be ready again" ready "$pod"
took=$((SECONDS - stopped))
# Three probes of 10 s, the probe's grace of 30 s, and the start.
((took <= 80)) || fail "ready only $took s after it was stopped"
finish_publishing 120 600
all_gone 300 600
say "ready $took s after it was stopped; 600 of 600 handled, $(redelivered) redelivered"
