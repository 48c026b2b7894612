# What the steps know of a cluster. Sourced by each of them; needs kubectl, and $OVERLAY, $NAMESPACE from `run`.
# shellcheck shell=bash
set -euo pipefail

k() { kubectl --namespace "$NAMESPACE" "$@"; }

say() { printf '      %s\n' "$*"; }

fail() {
  printf '      FAILED: %s\n' "$*" >&2
  exit 1
}

# The step cannot be done on this cluster, for the reason that is given. `run` counts it as skipped.
skip() {
  say "skipped: $*"
  exit 77
}

needs_crd() {
  kubectl get crd "$1" >/dev/null 2>&1 || skip "$2 is not installed in this cluster (no $1)"
}

# until_true SECONDS WHAT COMMAND…: asks twice a second, and fails with WHAT when the time is over.
until_true() {
  local seconds=$1 what=$2 end
  shift 2
  end=$((SECONDS + seconds))
  until "$@"; do
    ((SECONDS < end)) || fail "not within $seconds s: $what"
    sleep 0.5
  done
}

# same WHAT EXPECTED ACTUAL
same() {
  [[ $2 == "$3" ]] || fail "$1: expected '$2', got '$3'"
}

# seconds DURATION: `90s`, `2m` or `1500ms` in whole seconds, rounded up
seconds() {
  case $1 in
    *ms) echo $(((${1%ms} + 999) / 1000)) ;;
    *s) echo "${1%s}" ;;
    *m) echo $((${1%m} * 60)) ;;
    *) fail "'$1' is no duration" ;;
  esac
}

# The pods of a Deployment that are meant to stay, newest last; one-off pods have no template hash.
pods_of() {
  k get pods -l "app.kubernetes.io/name=$1,pod-template-hash" --sort-by=.metadata.creationTimestamp -o go-template='
    {{- range .items}}{{if not .metadata.deletionTimestamp}}{{.metadata.name}}{{"\n"}}{{end}}{{end}}'
}

pod_of() { pods_of "$1" | tail -n 1; }

# status_of POD FIELD: of the container `app`, which may have neighbours
status_of() { k get pod "$1" -o jsonpath="{.status.containerStatuses[?(@.name==\"app\")].$2}"; }

restarts_of() { status_of "$1" restartCount; }

restarted() { (($(restarts_of "$1") > 0)); }

rolled_out() {
  k rollout status "deployment/$1" --timeout="${2:-120s}" >/dev/null 2>&1 || fail "deployment/$1 did not roll out"
}

# matching POD PATTERN: the lines of its current container's log that match. Whoever wants the first or the last
# reads them all: a pipe that is closed early is an error here.
matching() { k logs "$1" -c app 2>/dev/null | grep -E -- "$2"; }

logged() { matching "$1" "$2" >/dev/null; }

# ever_logged POD TEXT: the lines with TEXT of its current container and of the one before. Which of the two a container that
# ends and is started again is, may change between two calls.
ever_logged() { { k logs "$1" -c app --previous || true; k logs "$1" -c app || true; } 2>/dev/null | grep -F -- "$2"; }

# raw POD PATH: what a pod answers on its health port, through the API server, since there may be no route from here
raw() { kubectl get --raw "/api/v1/namespaces/$NAMESPACE/pods/$1:5000/proxy/$2"; }

# on_top FOLDER COMPONENT…: a kustomization in FOLDER, the overlay with these components on top of it
on_top() {
  local folder=$1 component
  shift
  # kustomize takes no absolute paths.
  {
    printf 'apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: %s\n' "$NAMESPACE"
    printf 'resources:\n  - %s\n  - values.yaml\ncomponents:\n' "$(realpath --relative-to="$folder" "$OVERLAY")"
    for component; do
      printf '  - %s\n' "$(realpath --relative-to="$folder" "$E2E/../kustomize/components/$component")"
    done
  } >"$folder/kustomization.yaml"
  # What components read that are made for real AWS.
  cat >"$folder/values.yaml" <<Y
apiVersion: v1
kind: ConfigMap
metadata:
  name: lifeline-values
  annotations:
    config.kubernetes.io/local-config: "true"
data:
  region: us-east-1
Y
}

# of_kind KIND…: the objects of these kinds, of those on standard input
of_kind() {
  awk -v kinds=" $* " 'BEGIN {RS = "---\n"; ORS = "---\n"} match($0, /(^|\n)kind: [A-Za-z]+/) {
    split(substr($0, RSTART, RLENGTH), words, ": "); if (index(kinds, " " words[2] " ")) print}'
}

# undo_rollout SERVICE; kubectl's warning that `apply` does not know of it is of no interest: `as_declared` follows.
undo_rollout() {
  local said
  said=$(k rollout undo "deployment/$1" 2>&1) || fail "$said"
}

# LocalStack's image may still have to be pulled.
all_rolled_out() {
  local deployment
  for deployment in $(k get deployments -o name); do
    rolled_out "${deployment#*/}" 300s
  done
}

# at_end COMMAND…: runs it when the step ends, whatever way, the last one first.
ENDINGS=()
at_end() { ENDINGS=("$*" "${ENDINGS[@]}"); }

end() {
  local status=$? command
  for command in "${ENDINGS[@]}"; do eval "$command" || status=1; done
  exit "$status"
}
trap end EXIT
trap 'printf "      FAILED: %s\n" "$BASH_COMMAND" >&2' ERR

# A step that changes something calls this first: the next one finds what the overlay says. Not `apply`, which leaves
# what others have set in place.
altering() { at_end as_declared; }

as_declared() {
  kubectl kustomize "$OVERLAY" | kubectl replace --save-config -f - >/dev/null
  all_rolled_out
}
