#!/usr/bin/env bash
# the consumer's log names each message that it received, with its contents, and that it deleted
. "$E2E/cluster.sh"

pod=$(pod_of consumer)
line='received message_id=[^ ]+ receive_count=1 trace_id=[0-9a-f]{32} body='
until_true 30 "a line '$line' in the consumer's log" logged "$pod" "$line"
received=$(matching "$pod" "$line" | sed -n 1p)
id=$(grep -oE 'message_id=[^ ]+' <<<"$received")
until_true 10 "a line 'deleted $id' in the consumer's log" logged "$pod" "deleted $id"
say "$received"
say "$(matching "$pod" "deleted $id")"
trace=$(grep -oE 'trace_id=[0-9a-f]+' <<<"$received")
logged "$(pod_of producer)" "$trace" || fail "the producer did not log $trace"
