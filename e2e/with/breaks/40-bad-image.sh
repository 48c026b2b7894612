#!/usr/bin/env bash
# a rollout to an image that does not exist stops, and the old consumer works on
. "$E2E/cluster.sh"
. "$E2E/messages.sh"
. "$E2E/helpers.sh"

altering
consumer_with MAX_RECEIVES=5
old=$(pod_of consumer)
collect_logs
numbered 1 500 | start_publishing 20
until_true 30 "the first messages" has_deleted 40
k set image deployment/consumer app=localhost/no-such-image:0 >/dev/null
refused() { [[ $(status_of "$(pod_of consumer)" state.waiting.reason) =~ ^(ErrImagePull|ImagePullBackOff|ErrImageNeverPull)$ ]]; }
until_true 90 "the node to refuse the image" refused
ready "$old" || fail "the old consumer is not ready"
undo_rollout consumer
undone=$SECONDS
rolled_out consumer
same "the consumer" "$old" "$(pod_of consumer)"
say "undone in $((SECONDS - undone)) s"
finish_publishing 120 500
none_lost 120 500
none_doubled 500
say "500 of 500 messages handled once, by the pod that was there"
