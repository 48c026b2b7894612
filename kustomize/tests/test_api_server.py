"""Every overlay and combination, dry run by a real API server: admission, defaults, Pod Security and what no schema says.

With APPLY set, in the cluster of $KUBECONFIG, in a namespace that is made and deleted. The definitions of KEDA, the Prometheus
operator and the ACK controllers must be installed there.
"""

import os
import shutil
import subprocess

import pytest
import rendering
import yaml

pytestmark = pytest.mark.skipif(not os.environ.get("APPLY"), reason="$APPLY is not set")

NAMESPACE = "lifeline-dry-run"


def kubectl(*arguments, objects=None):
    # The one that knows the cluster, which may not be the one that renders.
    return subprocess.run(
        [shutil.which("kubectl"), *arguments], capture_output=True, text=True,
        input=None if objects is None else yaml.safe_dump_all(objects),
    )


def moved(objects):
    """The objects in a namespace that is there: a dry run creates none."""
    for item in objects:
        if item["kind"] == "Namespace":
            item["metadata"]["name"] = NAMESPACE
        elif "namespace" in item["metadata"]:
            item["metadata"]["namespace"] = NAMESPACE
    return objects


@pytest.fixture(scope="module", autouse=True)
def namespace():
    # With the labels of ours, by which pods that are not restricted give a warning.
    (ours,) = moved(rendering.overlay("offline")).of("Namespace")
    made = kubectl("create", "-f", "-", objects=[ours])
    assert made.returncode == 0, made.stderr
    yield
    kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def accepted(objects):
    result = kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", objects=objects)
    # Warnings too: fields that are out of date, pods that are not restricted.
    said = [line for line in result.stderr.splitlines() if "last-applied-configuration" not in line]
    assert result.returncode == 0 and not said, result.stderr


def test_the_api_server_accepts_it_without_a_warning(rendered):
    accepted(moved(rendered))


def test_the_api_server_accepts_the_alerts_as_a_prometheus_rule():
    # As components/monitoring/README.md says: they are its `spec:`.
    alerts = rendering.combination(["monitoring"]).one("ConfigMap", "lifeline-alerts")["data"]["lifeline.rules.yaml"]
    accepted([{
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "lifeline", "namespace": NAMESPACE},
        "spec": yaml.safe_load(alerts),
    }])


def test_a_pod_that_is_not_restricted_is_warned_of():
    objects = moved(rendering.overlay("offline"))
    objects.app("consumer")["securityContext"]["allowPrivilegeEscalation"] = True
    with pytest.raises(AssertionError, match="would violate PodSecurity"):
        accepted(objects)


def test_a_field_that_does_not_exist_is_refused():
    objects = moved(rendering.overlay("offline"))
    objects.app("consumer")["livenesProbe"] = {}
    with pytest.raises(AssertionError, match="livenesProbe"):
        accepted(objects)
