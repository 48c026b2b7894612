#!/usr/bin/env bash
# `kubectl delete -k` leaves nothing
. "$E2E/cluster.sh"

kubectl delete -k "$OVERLAY" --timeout=180s >/dev/null
# In this namespace: another Lifeline in the cluster is none of ours.
left=$(k get all,configmaps,secrets,serviceaccounts,networkpolicies,poddisruptionbudgets \
  -l app.kubernetes.io/part-of=lifeline -o name)
same "objects left in $NAMESPACE" "" "$left"
rendered=$(kubectl kustomize "$OVERLAY")
if grep -qx 'kind: Namespace' <<<"$rendered" && kubectl get namespace "$NAMESPACE" >/dev/null 2>&1; then
  fail "the namespace $NAMESPACE is still there"
fi
