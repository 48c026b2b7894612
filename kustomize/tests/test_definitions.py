"""Objects of other projects' kinds against their own CustomResourceDefinitions, where they are at hand: in the folder that
$CRDS names (of KEDA, the Prometheus operator, the ACK controllers). They are not ours to keep here."""

import os
from pathlib import Path

import jsonschema
import pytest
import rendering
import yaml

CRDS = os.environ.get("CRDS")
pytestmark = pytest.mark.skipif(not CRDS, reason="$CRDS names no folder of CustomResourceDefinitions")


def closed(schema):
    """The schema as the API server prunes by it: a field that it does not know is an error."""
    if isinstance(schema, dict):
        if "properties" in schema and "additionalProperties" not in schema:
            if not schema.get("x-kubernetes-preserve-unknown-fields"):
                schema["additionalProperties"] = False
        # Go takes a flag anywhere in a pattern, Python at its beginning.
        if isinstance(schema.get("pattern"), str):
            schema["pattern"] = schema["pattern"].replace("^(?i)", "(?i)^", 1)
        for value in schema.values():
            closed(value)
    elif isinstance(schema, list):
        for value in schema:
            closed(value)
    return schema


def schemas():
    found = {}
    for file in sorted(Path(CRDS).glob("**/*.yaml")):
        for item in yaml.safe_load_all(file.read_text()):
            if item and item.get("kind") == "CustomResourceDefinition":
                for version in item["spec"]["versions"]:
                    key = (f"{item['spec']['group']}/{version['name']}", item["spec"]["names"]["kind"])
                    schema = version["schema"]["openAPIV3Schema"]
                    schema["properties"]["metadata"] = {}
                    found[key] = closed({**schema, "properties": {"apiVersion": {}, "kind": {}, **schema["properties"]}})
    return found


def test_objects_of_other_kinds_fit_their_definitions():
    known = schemas()
    objects = [item for _, items in rendering.everything() for item in items]
    # As components/monitoring/README.md says: the alerts are the `spec:` of a PrometheusRule.
    alerts = rendering.combination(["monitoring"]).one("ConfigMap", "lifeline-alerts")["data"]["lifeline.rules.yaml"]
    objects.append({"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule", "spec": yaml.safe_load(alerts)})
    seen = set()
    for item in objects:
        key = (item["apiVersion"], item["kind"])
        if key in known:
            jsonschema.validate(item, known[key])
            seen.add(item["kind"])
    assert seen == {
        "ScaledObject", "TriggerAuthentication", "PodMonitor", "PrometheusRule", "Queue", "Topic", "Subscription",
    }
