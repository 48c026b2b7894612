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

# part SERVICE PATH: a piece of a service's pod template, as JSON; container SERVICE PATH: of its container `app`
part() { k get "deployment/$1" -o jsonpath="{.spec.template.spec$2}"; }
container() { part "$1" ".containers[?(@.name==\"app\")]$2"; }

# one_off NAME SERVICE LINES-CONFIGMAP VARIABLE=VALUE…: a pod like one of SERVICE's that runs once. The lines are at
# /input/lines.
one_off() {
  local name=$1 service=$2 lines=$3 environment='' variable
  shift 3
  # Where SNS and SQS are; what a step has set beside it is for the service alone.
  for variable in AWS_ENDPOINT_HOST AWS_ENDPOINT_URL; do
    variable=$(container "$service" ".env[?(@.name==\"$variable\")]")
    environment+=${variable:+$variable, }
  done
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
      image: $(container "$service" .image)
      imagePullPolicy: IfNotPresent
      envFrom: $(container "$service" .envFrom)
      env: [$environment]
      securityContext: $(container "$service" .securityContext)
      resources: $(container "$service" .resources)
      volumeMounts: [{name: input, mountPath: /input}]
  volumes:
    - name: input
      configMap: {name: $lines, optional: true}
Y
}

# start_publishing RATE [NAME] <LINES: RATE messages per second, 0 as fast as can be, by a pod and ConfigMap NAME
start_publishing() {
  local rate=$1 name=${2:-$RUN}
  k create configmap "$name" --from-file=lines=/dev/stdin >/dev/null
  k label configmap "$name" app.kubernetes.io/part-of=lifeline >/dev/null
  one_off "$name" producer "$name" "TOPIC_NAME=$RUN" INPUT=/input/lines "PUBLISH_RATE=$rate"
}

ended() { [[ $(k get pod "$1" -o jsonpath='{.status.phase}') =~ Succeeded|Failed ]]; }

# finish_publishing SECONDS COUNT [NAME]
finish_publishing() {
  local name=${3:-$RUN}
  until_true "$1" "the publisher to publish $2 messages" ended "$name"
  logged "$name" "published=$2( |\$)" || fail "the publisher's summary: $(k logs "$name" --tail=1)"
  # Not at the end of the step: what begins in a pipe has no part in that.
  k delete pod,configmap "$name" --wait=false >/dev/null
}

# publish SECONDS NAME <LINES: as fast as can be, and waits for it
publish() {
  local lines
  lines=$(cat)
  start_publishing 0 "$RUN-$2" <<<"$lines"
  finish_publishing "$1" "$(wc -l <<<"$lines")" "$RUN-$2"
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
  while container=$(status_of "$pod" containerID) && [[ -d $LOGS/$pod ]]; do
    container=${container##*/}
    if [[ -n $container && ! -e $LOGS/$pod/$container.whole ]]; then
      k logs -f "$pod" -c app >"$LOGS/$pod/$container" && touch "$LOGS/$pod/$container.whole"
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
has_received() { (($(received | wc -l) >= $1)); }

# none_lost SECONDS COUNT: every body was received, and as many messages deleted, by the consumers' logs. Not where one was
# killed: a delete that was in flight then is done, and logged by nobody. all_gone is for those.
none_lost() {
  until_true "$1" "$2 messages received and deleted" has_deleted "$2"
  same "bodies received" "$2" "$(received | wc -l)"
}

# none_doubled COUNT: each was deleted, and thus handled to its end, once.
none_doubled() { same "deletions" "$1" "$(deleted | wc -l)"; }

# gauge POD METRIC: its value, without labels
gauge() { raw "$1" metrics | awk -v name="$2" '$1 == name {print $2}'; }

# holds POD: what the consumer's queue holds, visible and in flight, and its dead-letter queue
holds() {
  printf '%s visible, %s in flight, %s dead letters\n' "$(gauge "$1" consumer_queue_visible_messages)" \
    "$(gauge "$1" consumer_queue_in_flight_messages)" "$(gauge "$1" consumer_dead_letter_messages)"
}

# A consumer measures the queue when it starts, and then once a minute: a new one shows what it holds now.
holds_nothing() {
  k rollout restart deployment/consumer >/dev/null
  rolled_out consumer
  [[ $(holds "$(pod_of consumer)") == "0 visible, 0 in flight, 0 dead letters" ]]
}

# all_gone SECONDS COUNT: every body was received, and neither the queue nor the dead-letter queue holds one: a message that
# is in neither was deleted. And none was deleted twice.
all_gone() {
  until_true "$1" "$2 bodies received" has_received "$2"
  until_true "$1" "an empty queue" holds_nothing
  same "bodies received" "$2" "$(received | wc -l)"
  same "messages deleted twice" "" "$(deleted | uniq -d)"
}

redelivered() { collected | grep -F 'received message_id=' | grep -F "$RUN-" | grep -cvF ' receive_count=1 ' || true; }
