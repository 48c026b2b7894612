#!/usr/bin/env bash
# KEDA scales the consumer from zero to several and back under load, and the handler sees each message once
. "$E2E/cluster.sh"
. "$E2E/messages.sh"
. "$E2E/helpers.sh"

needs_crd scaledobjects.keda.sh KEDA
k get service aws >/dev/null 2>&1 || skip "this overlay has no Service aws for KEDA to ask"

altering
make_handler_script
k apply -f - >/dev/null <<Y
apiVersion: apps/v1
kind: Deployment
metadata: {name: e2e-handler}
spec:
  selector: {matchLabels: {app: e2e-handler}}
  template:
    metadata: {labels: {app: e2e-handler}}
    spec:
      automountServiceAccountToken: false
      securityContext: $(part consumer .securityContext)
      containers: [$(handler_container 2)]
      volumes: [$(handler_volumes)]
---
apiVersion: v1
kind: Service
metadata: {name: e2e-handler}
spec:
  selector: {app: e2e-handler}
  ports: [{port: 8080}]
---
# The endpoint in the cluster accepts any key.
apiVersion: v1
kind: Secret
metadata: {name: e2e-keda}
stringData: {id: test, key: test}
Y
at_end 'k delete deployment,service e2e-handler --ignore-not-found >/dev/null; k delete secret e2e-keda --ignore-not-found >/dev/null'
rolled_out e2e-handler
consumer_with MAX_RECEIVES=5 MAX_IN_FLIGHT=8 HANDLER=http "HANDLER_URL=http://e2e-handler:8080$HANDLER_PATH" LOG_BODY=1024
collect_logs

on_top "$LOGS" autoscaling
cat >>"$LOGS/kustomization.yaml" <<Y
patches:
  - target: {kind: ScaledObject, name: consumer}
    patch: |-
      - {op: replace, path: /spec/minReplicaCount, value: 0}
      - {op: replace, path: /spec/maxReplicaCount, value: 4}
      - {op: replace, path: /spec/pollingInterval, value: 5}
      - {op: add, path: /spec/cooldownPeriod, value: 30}
      - op: replace
        path: /spec/triggers/0/metadata
        value:
          queueURL: http://aws.$NAMESPACE:4566/000000000000/$RUN
          awsEndpoint: http://aws.$NAMESPACE:4566
          awsRegion: us-east-1
          queueLength: "8"
          scaleOnInFlight: "true"
  - target: {kind: TriggerAuthentication, name: keda-aws}
    patch: |-
      - op: replace
        path: /spec
        value:
          secretTargetRef:
            - {parameter: awsAccessKeyID, name: e2e-keda, key: id}
            - {parameter: awsSecretAccessKey, name: e2e-keda, key: key}
Y
# KEDA's two objects alone: what the step has set on the consumer stays.
kubectl kustomize "$LOGS" | of_kind ScaledObject TriggerAuthentication | k apply -f - >/dev/null
at_end 'k delete scaledobject,triggerauthentication --all --ignore-not-found >/dev/null'

# The API leaves a zero out.
replicas() { k get deployment consumer -o go-template='{{or .status.replicas 0}}'; }
are() { (($(replicas) == $1)); }
at_least() { (($(replicas) >= $1)); }

until_true 120 "no consumer while the queue is empty" are 0
say "idle: no consumer"
numbered 1 600 | start_publishing 20
began=$SECONDS
until_true 90 "the first consumer" at_least 1
say "1 consumer $((SECONDS - began)) s after the publisher was made"
until_true 180 "three consumers" at_least 3
say "$(replicas) consumers after $((SECONDS - began)) s"
finish_publishing 180 600
none_lost 300 600
none_doubled 600
account=$(k exec deployment/e2e-handler -- /bin/busybox cat /account/handled | sort)
same "bodies that the handler saw" 600 "$(uniq <<<"$account" | wc -l)"
same "bodies that it saw twice" "" "$(uniq -d <<<"$account")"
idle=$SECONDS
until_true 180 "no consumer after the last message" are 0
say "600 of 600 messages handled once; no consumer $((SECONDS - idle)) s after the last"
