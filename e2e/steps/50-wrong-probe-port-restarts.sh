#!/usr/bin/env bash
# a probe that asks a wrong port restarts the pod after three failures
. "$E2E/cluster.sh"
. "$E2E/probes.sh"

broken_probe producer port 5999 'connection refused'
