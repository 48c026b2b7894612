#!/usr/bin/env bash
# the probes' requests are in `kubectl logs`, one access line each
. "$E2E/cluster.sh"

line='^[0-9a-f.:]+ - - \[[0-9]{2}/[A-Z][a-z]{2}/[0-9]{4} [0-9:]{8}\] "GET /health HTTP/1.1" 200 -$'
for service in producer consumer; do
  pod=$(pod_of "$service")
  until_true 30 "an access line in the log of $service" logged "$pod" "$line"
  say "$(matching "$pod" "$line" | tail -n 1)"
done
