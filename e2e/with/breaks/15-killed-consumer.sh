#!/usr/bin/env bash
# a consumer that is killed (SIGKILL), twice, comes back and loses nothing
. "$E2E/cluster.sh"
. "$E2E/messages.sh"
. "$E2E/helpers.sh"

altering
make_elsewhere
consumer_with MAX_RECEIVES=5
pod=$(pod_of consumer)
make_node "$pod"
collect_logs
numbered 1 500 | start_publishing 20
until_true 30 "the first messages" has_deleted 40
times=()
for count in 1 2; do
  signal "$pod" KILL
  killed=$SECONDS
  restarts_are() { (($(restarts_of "$pod") == count)) && ready "$pod"; }
  until_true 60 "restart $count of $pod" restarts_are
  times+=("$((SECONDS - killed)) s")
done
finish_publishing 120 500
all_gone 300 500
say "ready after ${times[0]}, then ${times[1]} (the kubelet's back-off); 500 of 500 handled, $(redelivered) redelivered"
