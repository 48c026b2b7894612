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
new=$(pod_of consumer)
names_it() { ever_logged "$new" MAX_IN_FLIGHT >/dev/null; }
until_true 30 "a line that names MAX_IN_FLIGHT" names_it
say "$(ever_logged "$new" MAX_IN_FLIGHT | tail -n 1)"
ready "$old" || fail "the old consumer is not ready"
undo_rollout consumer
rolled_out consumer
same "the consumer" "$old" "$(pod_of consumer)"
finish_publishing 120 500
none_lost 120 500
none_doubled 500
say "500 of 500 messages handled once, by the pod that was there"
