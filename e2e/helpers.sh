# Pods of the steps' own, out of the debug image (busybox and curl). Sourced by steps, after cluster.sh and messages.sh.
# shellcheck shell=bash disable=SC2016 # scripts of other shells

# A namespace beside ours, where pods may be what ours may not.
ELSEWHERE=$NAMESPACE-e2e

elsewhere() { kubectl --namespace "$ELSEWHERE" "$@"; }

make_elsewhere() {
  kubectl create namespace "$ELSEWHERE" >/dev/null
  at_end "kubectl delete namespace '$ELSEWHERE' --ignore-not-found >/dev/null"
}

debug_image() {
  local image
  image=$(container consumer .image)
  echo "${image%:*}-debug:${image##*:}"
}

# idle_pod NAMESPACE NAME [SPEC] [SECURITY-CONTEXT]: does nothing until something is run in it. SPEC is more fields of its spec
# as JSON, each followed by a comma.
idle_pod() {
  kubectl --namespace "$1" apply -f - >/dev/null <<Y
{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "$2", "labels": {"app": "$2"}}, "spec": {
  ${3:-} "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": false, "containers": [{
    "name": "app", "image": "$(debug_image)", "imagePullPolicy": "IfNotPresent",
    "command": ["/bin/busybox", "sleep", "86400"],
    "securityContext": ${4:-$(container consumer .securityContext)}}]}}
Y
  kubectl --namespace "$1" wait --for=condition=Ready "pod/$2" --timeout=60s >/dev/null ||
    fail "no pod of $(debug_image) starts; load the images with 'nix run .#load-images -- --debug'"
}

# make_node POD: a pod on the same node that sees the node's processes, to do to POD what its own image cannot
make_node() {
  idle_pod "$ELSEWHERE" node "\"hostPID\": true, \"nodeName\": \"$(k get pod "$1" -o jsonpath='{.spec.nodeName}')\"," \
    '{"privileged": true, "runAsUser": 0}'
}

# signal POD SIGNAL: to all processes of its container `app`
signal() {
  local id
  id=$(status_of "$1" containerID)
  elsewhere exec node -- /bin/busybox sh -c '
    pids=$(grep -l "$1" /proc/[0-9]*/cgroup 2>/dev/null | cut -d/ -f3)
    [ -n "$pids" ] && kill -s "$2" $pids' signal "${id##*/}" "$2" || fail "no process of $1 got a SIG$2"
}

ready() { [[ $(status_of "$1" ready) == true ]]; }

# handler_container SECONDS: an HTTP handler that takes so long and keeps an account, a line a message; as JSON
handler_container() {
  cat <<J
{"name": "handler", "image": "$(debug_image)", "imagePullPolicy": "IfNotPresent",
  "command": ["/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/srv"],
  "env": [{"name": "TAKES", "value": "$1"}],
  "securityContext": $(container consumer .securityContext),
  "volumeMounts": [{"name": "handler", "mountPath": "/srv/cgi-bin"}, {"name": "account", "mountPath": "/account"}]}
J
}

handler_volumes() {
  echo '{"name": "handler", "configMap": {"name": "e2e-handler", "defaultMode": 365}}, {"name": "account", "emptyDir": {}}'
}

make_handler_script() {
  k create configmap e2e-handler --from-literal=handle='#!/bin/busybox sh
body=$(/bin/busybox cat)
/bin/busybox sleep "$TAKES"
echo "$body" >>/account/handled
printf "Status: 200 OK\r\nContent-Type: text/plain\r\n\r\n"
' >/dev/null
  at_end 'k delete configmap e2e-handler --ignore-not-found >/dev/null'
}

export HANDLER_PATH=/cgi-bin/handle
