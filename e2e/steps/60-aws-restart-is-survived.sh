#!/usr/bin/env bash
# SNS and SQS lose their pod and all they held: both services stay up, and messages flow again
. "$E2E/cluster.sh"

producer=$(pod_of producer) consumer=$(pod_of consumer)
before="$(restarts_of "$producer") $(restarts_of "$consumer")"
k delete pod -l app.kubernetes.io/component=aws >/dev/null
all_rolled_out
since=$(date -u +%Y-%m-%dT%H:%M:%SZ)

logged_since() { k logs "$1" -c app --since-time="$since" | grep -F -- "$2" >/dev/null; }
until_true 120 "the producer to publish again" logged_since "$producer" 'published message_id='
until_true 120 "the consumer to delete again" logged_since "$consumer" 'deleted message_id='
same "pods" "$producer $consumer" "$(pod_of producer) $(pod_of consumer)"
same "restarts" "$before" "$(restarts_of "$producer") $(restarts_of "$consumer")"
say "no restart; a new message went through $((SECONDS)) s after the pod was deleted"
