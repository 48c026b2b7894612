#!/usr/bin/env bash
# a consumer that hangs is restarted by its probe, and no message is lost
. "$E2E/cluster.sh"
. "$E2E/messages.sh"
. "$E2E/probes.sh"

altering
# The setting is there for this test alone: this body, received for the first time, blocks every thread of the runtime.
consumer_with "FAULT_HANG=$RUN-00020"
pod=$(pod_of consumer)
collect_logs
# In three parts: a delete that is in flight when the runtime blocks is done, and logged by nobody.
numbered 1 19 | publish 60 before
none_lost 60 19
numbered 20 20 | publish 60 hang
until_true 60 "the consumer to hang" logged "$pod" FAULT_HANG
numbered 21 40 | publish 60 after
# 30 s until /health says so, three probes, then the probe's grace, which a wedged runtime cannot use.
until_true 180 "the probe to have the consumer restarted" killed_by_probe "$pod"
(($(failures "$pod" 'statuscode: 503') >= 3)) || fail "the probe did not fail with 503"
until_true 90 "a restart of $pod" restarted "$pod"
say "$pod: 3 × 'statuscode: 503', then restarted"
# What it held comes back when the lease ends, 30 s after the process at the latest.
came_back() { (($(redelivered) > 0)); }
until_true 90 "the message that it hung on to be redelivered" came_back
all_gone 300 40
say "40 of 40 messages handled, none left in the queue; $(redelivered) redelivered"
