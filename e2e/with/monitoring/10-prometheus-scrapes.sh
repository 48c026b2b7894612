#!/usr/bin/env bash
# the Prometheus of this cluster scrapes every pod of ours and evaluates every alert
. "$E2E/cluster.sh"

needs_crd podmonitors.monitoring.coreos.com "the Prometheus operator"
# The first Prometheus: its namespace, name, and the labels by which it selects.
read -r where name < <(kubectl get prometheuses.monitoring.coreos.com --all-namespaces \
  -o jsonpath='{range .items[*]}{.metadata.namespace}{" "}{.metadata.name}{"\n"}{end}') || skip "there is no Prometheus in this cluster"
selects() {
  kubectl -n "$where" get prometheuses.monitoring.coreos.com "$name" \
    -o go-template="{{range \$key, \$value := .spec.$1.matchLabels}}{{\$key}}={{\$value}} {{end}}"
}

folder=$(mktemp -d)
at_end "rm -rf '$folder'"
on_top "$folder" monitoring
kubectl kustomize "$folder" >"$folder/rendered"
of_kind PodMonitor <"$folder/rendered" | k apply -f - >/dev/null
at_end 'k delete podmonitor,prometheusrule lifeline --ignore-not-found >/dev/null'
{
  printf 'apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata: {name: lifeline}\nspec:\n'
  sed 's/^/  /' "$E2E/../kustomize/components/monitoring/alerts.yaml"
} | k apply -f - >/dev/null
for kind in podmonitor:podMonitorSelector prometheusrule:ruleSelector; do
  read -ra labels <<<"$(selects "${kind#*:}")"
  ((${#labels[@]} == 0)) || k label "${kind%:*}" lifeline --overwrite "${labels[@]}" >/dev/null
done

ask() { kubectl get --raw "/api/v1/namespaces/$where/services/prometheus-operated:9090/proxy/api/v1/$1" 2>/dev/null; }
# Counted each time: a pod that the step before has replaced may still be ending.
pods() { { pods_of producer && pods_of consumer; } | wc -l; }
# up{…} == 1, counted
scraped() { ask "query?query=count(up%7Bnamespace%3D%22$NAMESPACE%22%7D%3D%3D1)" | grep -F "\"$(pods)\"]" >/dev/null; }
until_true 180 "every pod to be a target that is up" scraped
say "$(pods) of $(pods) pods are scraped"

rules=$(grep -c 'alert:' "$E2E/../kustomize/components/monitoring/alerts.yaml")
evaluated() {
  local answer
  answer=$(ask 'rules?type=alert&rule_group%5B%5D=lifeline')
  [[ $(grep -oE '"name":"Lifeline[A-Za-z]+"' <<<"$answer" | sort -u | wc -l) == "$rules" ]] &&
    [[ $(grep -oE '"health":"[a-z]+"' <<<"$answer" | sort -u) == '"health":"ok"' ]]
}
until_true 180 "$rules alerts, each with health ok" evaluated
say "$rules of $rules alerts are evaluated"
