# Liveness probes that fail. Sourced by steps, after cluster.sh.
# shellcheck shell=bash

# How often POD's liveness probe has failed with a message like PATTERN
failures() {
  k get events --field-selector "involvedObject.name=$1,reason=Unhealthy" \
    -o go-template='{{range .items}}{{.count}} {{.message}}{{"\n"}}{{end}}' |
    grep -F 'Liveness probe failed' | grep -F -- "$2" | awk '{sum += $1} END {print sum + 0}'
}

killed_by_probe() {
  k get events --field-selector "involvedObject.name=$1,reason=Killing" -o jsonpath='{.items[*].message}' |
    grep -F 'failed liveness probe, will be restarted' >/dev/null
}

# broken_probe SERVICE FIELD JSON-VALUE PATTERN: what a liveness probe with that FIELD does to a new pod of SERVICE
broken_probe() {
  local service=$1 field=$2 value=$3 pattern=$4 pod
  altering
  k patch "deployment/$service" --type=json -p "[{\"op\": \"replace\",
    \"path\": \"/spec/template/spec/containers/0/livenessProbe/httpGet/$field\", \"value\": $value}]" >/dev/null
  rolled_out "$service"
  pod=$(pod_of "$service")
  until_true 90 "the probe to have $service restarted" killed_by_probe "$pod"
  same "failures before it" 3 "$(failures "$pod" "$pattern")"
  until_true 60 "a restart of $pod" restarted "$pod"
  say "$pod: 3 × '$pattern', then restarted"
}
