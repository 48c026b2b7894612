#!/usr/bin/env bash
# a consumer with a setting that makes no sense ends with 2 and names it, and the old one works on
. "$E2E/cluster.sh"
. "$E2E/messages.sh"
. "$E2E/helpers.sh"

altering
consumer_with MAX_RECEIVES=5
old=$(pod_of consumer)
collect_logs
numbered 1 500 | start_publishing 20
until_true 30 "the first messages" has_deleted 40
k set env deployment/consumer MAX_IN_FLIGHT=lots >/dev/null
ended_with_2() { [[ $(status_of "$(pod_of consumer)" 'state.terminated.exitCode') == 2 || $(status_of "$(pod_of consumer)" 'lastState.terminated.exitCode') == 2 ]]; }
until_true 90 "the new consumer to end with exit code 2" ended_with_2
line=$({ k logs "$(pod_of consumer)" -c app --previous || k logs "$(pod_of consumer)" -c app; } 2>/dev/null | grep -F MAX_IN_FLIGHT) ||
  fail "no line names MAX_IN_FLIGHT"
say "$line"
ready "$old" || fail "the old consumer is not ready"
k rollout undo deployment/consumer >/dev/null
rolled_out consumer
same "the consumer" "$old" "$(pod_of consumer)"
finish_publishing 120 500
none_lost 120 500
none_doubled 500
say "500 of 500 messages handled once, by the pod that was there"
