# shellcheck shell=bash
# How the apps speak: each step says what it does as it begins and how long it took; what stops one is a single
# line that begins with `error:`. Sourced by the scripts beside it, which set `usage` first.

profile=${MINIKUBE_PROFILE:-minikube}
overlay=minikube
rest=()

fail() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

misused() {
  printf 'error: %s (--help lists what there is)\n' "$*" >&2
  exit 2
}

# Takes the options that every app has; what an app alone understands stays in `rest`.
options() {
  while (($#)); do
    case $1 in
      --help | -h) usage && exit 0 ;;
      --profile | --overlay)
        [ -n "${2-}" ] || misused "$1 needs a name"
        [ "$1" = --profile ] && profile=$2 || overlay=$2
        shift
        ;;
      --profile=?*) profile=${1#*=} ;;
      --overlay=?*) overlay=${1#*=} ;;
      *) rest+=("$1") ;;
    esac
    shift
  done
}

# begin TEXT … end: the time between the two, in whole tenths of a second.
begin() {
  began=$EPOCHREALTIME
  printf '==> %s\n' "$*"
}
end() {
  local tenths=$(((${EPOCHREALTIME/[.,]/} - ${began/[.,]/}) / 100000))
  printf '    %s (%d.%d s)\n' "$*" $((tenths / 10)) $((tenths % 10))
}

need() {
  command -v "$1" >/dev/null || fail "$1 is not installed, or not on PATH"
}

cluster_runs() {
  minikube -p "$profile" status >/dev/null 2>&1
}

need_cluster() {
  need minikube
  need kubectl
  kubectl version --client >/dev/null 2>&1 || fail "kubectl does not run: $(kubectl version --client 2>&1 | tail -n 1)"
  minikube version --short >/dev/null 2>&1 || fail "minikube does not run: $(minikube version --short 2>&1 | tail -n 1)"
}

need_running_cluster() {
  need_cluster
  cluster_runs || fail "no cluster runs in minikube's profile '$profile': start it with 'minikube start -p $profile', or choose another with --profile"
}

# Builds the overlay: what it renders to, and the namespace that it puts everything in, if it has one.
need_overlay() {
  [ -f "$LIFELINE_KUSTOMIZE/overlays/$overlay/kustomization.yaml" ] ||
    misused "there is no overlay '$overlay'; there are: $(cd "$LIFELINE_KUSTOMIZE/overlays" && echo *)"
  rendered=$(kubectl kustomize "$LIFELINE_KUSTOMIZE/overlays/$overlay" 2>&1) ||
    fail "kustomize/overlays/$overlay does not build: $(tail -n 1 <<<"$rendered")"
  namespace=$(sed -n '/^  namespace: /{s///p;q}' <<<"$rendered")
}

# seconds DURATION: `90s`, `2m` or `1500ms` in whole seconds, rounded up
seconds() {
  case $1 in
    *ms) echo $(((${1%ms} + 999) / 1000)) ;;
    *m) echo $((${1%m} * 60)) ;;
    *) echo "${1%s}" ;;
  esac
}

# A pod must live longer than its program drains, or it is killed before it has handed back what it holds. Two objects of
# the overlay hold these numbers, and an overlay of somebody's own may change one.
need_graces() {
  local line kind='' name='' value='' service drain
  local -A grace=() settings=()
  while IFS= read -r line; do
    case $line in
      'kind: '*) kind=${line#kind: } ;;
      '  name: '*) name=${line#  name: } ;;
      '  SHUTDOWN_GRACE: '* | '      terminationGracePeriodSeconds: '*) value=${line##*: } ;;
      ---)
        [ "$kind" != Deployment ] || grace[$name]=$value
        # Without the hash of its contents.
        [ "$kind" != ConfigMap ] || settings[${name%-*}]=${value//\"/}
        kind='' name='' value=''
        ;;
    esac
  done <<<"$rendered"$'\n---'
  for service in "${!grace[@]}"; do
    drain=${settings[$service]-}
    [ -n "$drain" ] || continue
    ((${grace[$service]:-30} >= $(seconds "$drain") + 5)) ||
      fail "$service drains for up to $drain (SHUTDOWN_GRACE), and kustomize/overlays/$overlay has its pod killed after ${grace[$service]:-30} s: set terminationGracePeriodSeconds to $(($(seconds "$drain") + 15))"
  done
}

# minikube names its context after the profile.
k() {
  kubectl --context "$profile" --namespace "${namespace:-default}" "$@"
}

# A folder for the app's own files, gone when it ends.
make_scratch() {
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
}

# The id under which the node holds an image, or nothing. minikube says `[]` or nothing at all where it fails.
image_id() {
  jq -r --arg tag "$1" 'first(.[]? | select(.repoTags // [] | index($tag)) | .id) // empty' <<<"$2"
}

node_images() {
  minikube -p "$profile" image ls --format json 2>/dev/null || true
}

# Loads one folder of $LIFELINE_IMAGES (stream, name, version, content) under both of its tags.
#
# The exit code of `minikube image load` says nothing: it is 0 where nothing was loaded. So the node's own list
# decides: both tags must be there and mean one image. The stream goes in uncompressed, since containerd drops a
# compressed one without a word.
load_image() {
  local folder=$1 name version content tag listed
  name=$(<"$folder/name") version=$(<"$folder/version") content=$(<"$folder/content")
  listed=$(node_images)
  if [ -n "$(image_id "$name:$content" "$listed")" ] &&
    [ "$(image_id "$name:$content" "$listed")" = "$(image_id "$name:$version" "$listed")" ]; then
    printf '    %s:%s and :%s are there\n' "$name" "$version" "$content"
    return
  fi
  for tag in "$content" "$version"; do
    # minikube keeps a copy of what it reads, in TMPDIR and forever: ours goes with the app.
    "$folder/stream" --repo_tag "$name:$tag" 2>"$scratch/stream.log" | TMPDIR=$scratch minikube -p "$profile" image load - 2>"$scratch/load.log" ||
      fail "loading $name:$tag into minikube's profile '$profile' failed: $(cat "$scratch/stream.log" "$scratch/load.log" | tail -n 1)"
  done
  listed=$(node_images)
  for tag in "$content" "$version"; do
    [ -n "$(image_id "$name:$tag" "$listed")" ] ||
      fail "minikube said that it loaded $name:$tag, but 'minikube -p $profile image ls' does not list it"
  done
  [ "$(image_id "$name:$content" "$listed")" = "$(image_id "$name:$version" "$listed")" ] ||
    fail "the node still holds another image as $name:$version; 'minikube -p $profile image rm $name:$version', then again"
  printf '    %s:%s, and as :%s\n' "$name" "$version" "$content"
}

# The images of ours that the overlay names: offline wants the embedded SNS and SQS, an overlay with the debug images
# wants those.
images_of_overlay() {
  local folder
  wanted=()
  for folder in "$LIFELINE_IMAGES"/*/; do
    if grep -Eq "image: \"?$(<"${folder}name")(:|\"?$)" <<<"$rendered"; then
      wanted+=("${folder%/}")
    fi
  done
  ((${#wanted[@]})) || fail "kustomize/overlays/$overlay names no image of ours"
}

# load_images FOLDER…
load_images() {
  local folder
  begin "Loading the images into minikube's profile '$profile'"
  for folder in "$@"; do
    load_image "$folder"
  done
  end "loaded, and listed by the node"
}
