#!/usr/bin/env bash
# scaling the consumer from 1 to 5 and back under load loses and doubles nothing
. "$E2E/cluster.sh"
. "$E2E/messages.sh"

altering
consumer_with MAX_RECEIVES=5
collect_logs
numbered 1 2000 | start_publishing 50
for count in 5 1; do
  sleep 5
  k scale deployment/consumer --replicas="$count" >/dev/null
  rolled_out consumer
done
finish_publishing 120 2000
none_lost 120 2000
none_doubled 2000
say "2000 of 2000 messages deleted once each, by $(find "$LOGS" -mindepth 1 -maxdepth 1 -type d | wc -l) pods"
