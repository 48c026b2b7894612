#!/usr/bin/env bash
# What the console shows once root is logged in on it: what is being waited for, how to look around, and then the
# consumer's log until Ctrl-C gives a shell.
set -uo pipefail
# Ctrl-C ends what runs in front, not this.
trap : INT

if ! systemctl is-active --quiet lifeline-deploy.service; then
  echo "The pipeline is being started; this takes a minute with KVM and ten without."
  # Returns when the unit's job is done, well or not.
  systemctl start lifeline-deploy.service || {
    echo "It did not start: journalctl -u lifeline-deploy says why."
    exit
  }
fi

cat <<'T'

  Lifeline runs on this machine: a k3s node with a producer, a consumer, and an SNS and SQS of its own.

    kubectl -n lifeline get pods                                            what runs
    kubectl -n lifeline exec deployment/producer -- producer health         is it alive?
    kubectl -n lifeline logs -f deployment/producer                         what it publishes
    curl http://127.0.0.1:5002/health                                       the consumer's, as the host sees it

  The consumer's log follows; Ctrl-C gives a shell, `poweroff` (or Ctrl-a x) ends the machine. Nothing is kept.

T
kubectl --namespace lifeline logs --follow --tail=20 deployment/consumer
echo
