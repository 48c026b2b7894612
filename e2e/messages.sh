# Known messages through the pipeline, on a topic and a queue of the step's own, and what became of each.
# Sourced by steps, after cluster.sh.
# shellcheck shell=bash

# Every body is `RUN-NNNNN`; RUN is also the topic's and the queue's name, so that no step sees another's messages.
RUN=e2e-$(date +%s)-$RANDOM
LOGS=$(mktemp -d)
at_end "rm -rf '$LOGS'"

numbered() { seq -f "$RUN-%05g" "$1" "$2"; }

# consumer_with VARIABLE=VALUE…: rolls the consumer over to this run's topic and queue. When it is ready, it has
# subscribed: nothing published later can miss it.
consumer_with() {
  k set env deployment/consumer "TOPIC_NAME=$RUN" "QUEUE_NAME=$RUN" "$@" >/dev/null
  rolled_out consumer
}

# part SERVICE PATH: a piece of a service's pod template, as JSON
part() { k get "deployment/$1" -o jsonpath="{.spec.template.spec$2}"; }

# one_off NAME SERVICE LINES-CONFIGMAP VARIABLE=VALUE…: a pod like one of SERVICE's that runs once. The lines are at
# /input/lines.
one_off() {
  local name=$1 service=$2 lines=$3 environment='' variable
  shift 3
  for variable; do
    environment+="{name: ${variable%%=*}, value: \"${variable#*=}\"}, "
  done
  k apply -f - >/dev/null <<Y
apiVersion: v1
kind: Pod
metadata:
  name: $name
  labels:
    app.kubernetes.io/name: $service
    app.kubernetes.io/part-of: lifeline
    app.kubernetes.io/component: e2e
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  enableServiceLinks: false
  securityContext: $(part "$service" .securityContext)
  containers:
    - name: app
      image: $(part "$service" '.containers[0].image')
      imagePullPolicy: IfNotPresent
      envFrom: $(part "$service" '.containers[0].envFrom')
      env: [$environment]
      securityContext: $(part "$service" '.containers[0].securityContext')
      resources: $(part "$service" '.containers[0].resources')
      volumeMounts: [{name: input, mountPath: /input}]
  volumes:
    - name: input
      configMap: {name: $lines, optional: true}
Y
}

# start_publishing RATE <LINES: RATE messages a second, 0 as fast as can be
start_publishing() {
  local rate=$1
  k create configmap "$RUN" --from-file=lines=/dev/stdin >/dev/null
  k label configmap "$RUN" app.kubernetes.io/part-of=lifeline >/dev/null
  one_off "$RUN" producer "$RUN" "TOPIC_NAME=$RUN" INPUT=/input/lines "PUBLISH_RATE=$rate"
}

ended() { [[ $(k get pod "$1" -o jsonpath='{.status.phase}') =~ Succeeded|Failed ]]; }

# finish_publishing SECONDS COUNT
finish_publishing() {
  until_true "$1" "the publisher to publish $2 messages" ended "$RUN"
  logged "$RUN" "published=$2( |\$)" || fail "the publisher's account: $(k logs "$RUN" --tail=1)"
  k delete pod,configmap "$RUN" --wait=false >/dev/null
}

# Follows the log of every container of every consumer from now on, into a file each: a pod's log goes with the pod.
collect_logs() {
  at_end stop_collecting
  collect >/dev/null 2>&1 &
}

stop_collecting() { touch "$LOGS/stop"; }

collect() {
  local pod
  trap - EXIT
  while [[ -d $LOGS && ! -e $LOGS/stop ]]; do
    for pod in $(pods_of consumer); do
      [[ -e $LOGS/$pod ]] || { mkdir "$LOGS/$pod" && follow "$pod" & }
    done
    sleep 0.3
  done
}

# Ends with its pod: a restarted container writes another log.
follow() {
  local pod=$1 container
  while container=$(k get pod "$pod" -o jsonpath='{.status.containerStatuses[0].containerID}') && [[ -d $LOGS/$pod ]]; do
    container=${container##*/}
    if [[ -n $container && ! -e $LOGS/$pod/$container.whole ]]; then
      k logs -f "$pod" >"$LOGS/$pod/$container" && touch "$LOGS/$pod/$container.whole"
    fi
    sleep 0.3
  done
}

collected() { find "$LOGS" -mindepth 2 -type f ! -name '*.whole' -exec cat {} +; }

# The bodies that consumers received, once each.
received() { collected | grep -F 'received message_id=' | grep -oE "$RUN-[0-9]{5}" | sort -u; }

# The ids that consumers deleted, as often as they did, of messages of this run.
deleted() {
  local ours
  ours=$(collected | grep -F 'received message_id=' | grep -F "$RUN-" | grep -oE 'message_id=[^ ]+' | sort -u)
  collected | grep -F 'deleted message_id=' | grep -oE 'message_id=[^ ]+' | sort | grep -Fxf <(printf '%s\n' "$ours")
}

has_deleted() { (($(deleted | sort -u | wc -l) >= $1)); }

# none_lost SECONDS COUNT: every body was received, and as many messages deleted.
none_lost() {
  until_true "$1" "$2 messages received and deleted" has_deleted "$2"
  same "bodies received" "$2" "$(received | wc -l)"
}

# none_doubled COUNT: each was deleted, and thus handled to its end, once.
none_doubled() { same "deletions" "$1" "$(deleted | wc -l)"; }
