#!/usr/bin/env bash
# the producer's log names each message that it published
. "$E2E/cluster.sh"

pod=$(pod_of producer)
line='published message_id=[^ ]+ bytes=[0-9]+ trace_id=[0-9a-f]{32}'
until_true 30 "a line '$line' in the producer's log" logged "$pod" "$line"
say "$(matching "$pod" "$line" | tail -n 1)"
