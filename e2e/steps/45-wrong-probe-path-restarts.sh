#!/usr/bin/env bash
# a probe that asks for a wrong path restarts the pod after three failures
. "$E2E/cluster.sh"
. "$E2E/probes.sh"

broken_probe consumer path '"/wrong"' 'statuscode: 404'
