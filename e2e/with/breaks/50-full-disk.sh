#!/usr/bin/env bash
# the disk of HANDLER=file is full for a while: no line is torn, none is missing, none is there twice
. "$E2E/cluster.sh"
. "$E2E/messages.sh"
. "$E2E/helpers.sh"

altering
k patch deployment/consumer --type=strategic -p "{\"spec\": {\"template\": {\"spec\": {
  \"containers\": [
    {\"name\": \"app\", \"volumeMounts\": [{\"name\": \"out\", \"mountPath\": \"/out\"}]},
    {\"name\": \"filler\", \"image\": \"$(debug_image)\", \"imagePullPolicy\": \"IfNotPresent\",
      \"command\": [\"/bin/busybox\", \"sleep\", \"86400\"], \"securityContext\": $(container consumer .securityContext),
      \"volumeMounts\": [{\"name\": \"out\", \"mountPath\": \"/out\"}]}],
  \"volumes\": [{\"name\": \"out\", \"emptyDir\": {\"medium\": \"Memory\", \"sizeLimit\": \"1Mi\"}}]}}}}" >/dev/null
consumer_with MAX_RECEIVES=50 HANDLER=file HANDLER_FILE=/out/handled LOG_BODY=1024
pod=$(pod_of consumer)
on_disk() { k exec "$pod" -c filler -- /bin/busybox sh -c "$1"; }
collect_logs
# 427 bytes each, so that some lines meet the end of the last page.
numbered 1 300 | sed "s/\$/ $(head -c 400 /dev/zero | tr '\0' x)/" | start_publishing 20
until_true 30 "the first messages" has_deleted 20
on_disk '/bin/busybox dd if=/dev/zero of=/out/filler bs=1k 2>/dev/null || true'
sleep 25
on_disk '/bin/busybox rm /out/filler'
room=$SECONDS
finish_publishing 120 300
none_lost 300 300
none_doubled 300
say "all handled $((SECONDS - room)) s after there was room again"
lines=$(on_disk '/bin/busybox cat /out/handled' | cut -d' ' -f1 | sort)
same "lines in the file" "$(numbered 1 300)" "$lines"
say "300 lines, each whole and once"
