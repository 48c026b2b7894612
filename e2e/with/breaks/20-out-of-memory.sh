#!/usr/bin/env bash
# a consumer that is killed for its memory comes back and loses nothing
. "$E2E/cluster.sh"
. "$E2E/messages.sh"
. "$E2E/helpers.sh"

altering
make_handler_script
# A handler that takes its time, so that all of them are in flight at once.
k patch deployment/consumer --type=strategic -p "{\"spec\": {\"template\": {\"spec\": {
  \"initContainers\": [$(handler_container 3 | sed '1s/{/{"restartPolicy": "Always", /')],
  \"volumes\": [$(handler_volumes)]}}}}" >/dev/null
consumer_with MAX_RECEIVES=20 HANDLER=http "HANDLER_URL=http://127.0.0.1:8080$HANDLER_PATH" LOG_BODY=1024
# Less than 40 messages of 230 kB need, and enough to start.
k set resources deployment/consumer -c app --requests=memory=8Mi --limits=memory=8Mi >/dev/null
k rollout status deployment/consumer --timeout=60s >/dev/null 2>&1 || skip "with 8 MiB the consumer does not start on this node"
pod=$(pod_of consumer)
collect_logs
filler=$(head -c 230000 /dev/zero | tr '\0' x)
# A ConfigMap holds a megabyte, and an argument of a program less than a line.
large() { while read -r line; do printf '%s %s\n' "$line" "$filler"; done; }
for part in {0..9}; do
  numbered $((part * 4 + 1)) $((part * 4 + 4)) | large | start_publishing 0 "$RUN-$part"
done
out_of_memory() { [[ $(status_of "$pod" lastState.terminated.reason) == OOMKilled ]]; }
until_true 90 "the kernel to kill the consumer" out_of_memory
killed=$SECONDS
k set resources deployment/consumer -c app --requests=memory=32Mi --limits=memory=128Mi >/dev/null
rolled_out consumer
say "OOMKilled; with 128 MiB ready $((SECONDS - killed)) s later"
for part in {0..9}; do finish_publishing 60 4 "$RUN-$part"; done
all_gone 300 40
say "40 of 40 messages of 230 kB handled, $(redelivered) redelivered"
