#!/usr/bin/env bash
# a message whose handler always fails reaches the dead-letter queue, and is not lost
. "$E2E/cluster.sh"
. "$E2E/messages.sh"

altering
# Its own health server refuses every POST: a handler that always fails.
consumer_with MAX_RECEIVES=2 HANDLER=http HANDLER_URL=http://127.0.0.1:5000/health
numbered 1 1 | start_publishing 0
finish_publishing 60 1

at_end 'k delete pod dead-letters --ignore-not-found --wait=false >/dev/null'
one_off dead-letters consumer none "TOPIC_NAME=$RUN" "QUEUE_NAME=$RUN-dlq" PROVISION=false
until_true 180 "the message in the dead-letter queue" logged dead-letters "received message_id=.*$RUN-00001"
if logged "$(pod_of consumer)" 'deleted message_id='; then fail "the failing consumer deleted a message"; fi
say "$(matching dead-letters 'received message_id=' | tail -n 1)"
