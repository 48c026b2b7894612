#!/usr/bin/env bash
# `kubectl delete -k` leaves nothing
. "$E2E/cluster.sh"

kubectl delete -k "$OVERLAY" --timeout=180s >/dev/null
left=$(kubectl get all,configmaps,secrets,serviceaccounts,networkpolicies,poddisruptionbudgets,namespaces \
  --all-namespaces -l app.kubernetes.io/part-of=lifeline -o name)
same "objects left" "" "$left"
if kubectl get namespace "$NAMESPACE" >/dev/null 2>&1; then fail "the namespace is still there"; fi
