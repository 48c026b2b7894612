#!/usr/bin/env bash
# a consumer that is killed for its memory comes back and loses nothing
. "$E2E/cluster.sh"
. "$E2E/messages.sh"
. "$E2E/helpers.sh"

altering
consumer_with MAX_RECEIVES=9
# Less than 64 messages of 200 kB need, and enough to start.
k set resources deployment/consumer -c app --requests=memory=8Mi --limits=memory=8Mi >/dev/null
k rollout status deployment/consumer --timeout=60s >/dev/null 2>&1 || skip "with 8 MiB the consumer does not start on this node"
pod=$(pod_of consumer)
collect_logs
filler=$(head -c 200000 /dev/zero | tr '\0' x)
# A ConfigMap holds a megabyte, and an argument of a program less than a line.
large() { while read -r line; do printf '%s %s\n' "$line" "$filler"; done; }
for part in 0 1 2 3 4; do
  numbered $((part * 4 + 1)) $((part * 4 + 4)) | large | start_publishing 0 "$RUN-$part"
done
out_of_memory() { [[ $(status_of "$pod" lastState.terminated.reason) == OOMKilled ]]; }
for part in 0 1 2 3 4; do finish_publishing 60 4 "$RUN-$part"; done
until_true 60 "the kernel to kill the consumer" out_of_memory
killed=$SECONDS
k set resources deployment/consumer -c app --requests=memory=32Mi --limits=memory=128Mi >/dev/null
rolled_out consumer
say "OOMKilled; with 128 MiB ready $((SECONDS - killed)) s later"
all_gone 300 20
say "20 of 20 messages of 200 kB handled, $(redelivered) redelivered"
