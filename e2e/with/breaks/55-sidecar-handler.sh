#!/usr/bin/env bash
# a handler beside the consumer, as a sidecar: a rollout under load handles each message once
. "$E2E/cluster.sh"
. "$E2E/messages.sh"
. "$E2E/helpers.sh"

minor=$(kubectl get --raw /version | sed -n 's/.*"minor": "\([0-9]*\).*/\1/p')
((minor >= 29)) || skip "sidecars that end after their pod's container need Kubernetes 1.29"
altering
make_handler_script
# As an init container that goes on, it is there before the consumer and ends after it.
k patch deployment/consumer --type=strategic -p "{\"spec\": {\"template\": {\"spec\": {
  \"initContainers\": [$(handler_container 0.2 | sed '1s/{/{"restartPolicy": "Always", /')],
  \"volumes\": [$(handler_volumes)]}}}}" >/dev/null
consumer_with MAX_RECEIVES=5 HANDLER=http "HANDLER_URL=http://127.0.0.1:8080$HANDLER_PATH" LOG_BODY=1024
collect_logs
numbered 1 1000 | start_publishing 25
for _ in 1 2; do
  sleep 8
  k rollout restart deployment/consumer >/dev/null
  rolled_out consumer
done
finish_publishing 120 1000
none_lost 120 1000
none_doubled 1000
say "1000 of 1000 messages handled once, by $(find "$LOGS" -mindepth 1 -maxdepth 1 -type d | wc -l) pods of two containers"
