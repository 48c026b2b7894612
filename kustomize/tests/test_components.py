"""Each component adds its one thing to the base, and nothing else."""

import copy
import json
import re
import shutil

import pytest
import rendering

SERVICES = ("producer", "consumer")


def added(components):
    """The objects that `components` add to the base, by kind and name; the base's own must be as they were."""
    with_it = rendering.combination(components)
    base = rendering.base()
    for item in base:
        assert item in with_it, f"{components} changed {item['kind']}/{item['metadata']['name']}"
    return sorted((item["kind"], item["metadata"]["name"]) for item in with_it if item not in base)


def changed(components, *fields):
    """The base with `components`, and without `fields` of the services' containers, is the base again."""
    objects = copy.deepcopy(rendering.combination(components))
    taken = {}
    for name in SERVICES:
        container = objects.app(name)
        taken[name] = {field: container.pop(field) for field in fields}
    base = copy.deepcopy(rendering.base())
    for name in SERVICES:
        for field in fields:
            base.app(name).pop(field, None)
    assert [item for item in objects if item["kind"] == "Deployment"] == base.of("Deployment")
    assert objects == base
    return taken


def test_liveness_probes_are_all_that_liveness_probes_adds():
    assert changed(["liveness-probes"], "livenessProbe")


def test_readiness_and_startup_are_all_that_the_other_probes_add():
    assert changed(["readiness-and-startup-probes"], "readinessProbe", "startupProbe")


def test_debug_images_change_the_image_alone():
    for name, fields in changed(["debug-images"], "image").items():
        plain = rendering.base().app(name)["image"]
        assert fields["image"] == plain.replace(f"localhost/{name}:", f"localhost/{name}-debug:") != plain


def test_user_namespaces_change_that_alone():
    objects = copy.deepcopy(rendering.combination(["user-namespaces"]))
    for name in SERVICES:
        assert objects.one("Deployment", name)["spec"]["template"]["spec"].pop("hostUsers") is False
    assert objects == rendering.base()


def test_disruption_budget_adds_two_budgets():
    assert added(["disruption-budget"]) == [("PodDisruptionBudget", name) for name in sorted(SERVICES)]


def test_network_policies_add_three():
    assert added(["network-policies"]) == [("NetworkPolicy", name) for name in ("aws", "deny-all", "services")]


def test_monitoring_adds_what_watches():
    assert added(["monitoring"]) == [
        ("ConfigMap", "lifeline-alerts"),
        ("ConfigMap", "lifeline-dashboard"),
        ("PodMonitor", "lifeline"),
    ]


def test_the_alerts_know_the_names_that_the_manifests_give():
    objects = rendering.combination(["monitoring", "autoscaling"])
    alerts = objects.one("ConfigMap", "lifeline-alerts")["data"]["lifeline.rules.yaml"]
    assert 'kube_configmap_info{configmap="lifeline-alerts"}' in alerts
    for label, name in re.findall(r'\b(deployment|scaledObject)="(\w+)"', alerts):
        objects.one({"deployment": "Deployment", "scaledObject": "ScaledObject"}[label], name)


def test_monitoring_watches_a_port_that_both_services_declare():
    objects = rendering.combination(["monitoring"])
    spec = objects.one("PodMonitor", "lifeline")["spec"]
    (expression,) = spec["selector"]["matchExpressions"]
    assert expression == {"key": "app.kubernetes.io/name", "operator": "In", "values": list(SERVICES)}
    (endpoint,) = spec["podMetricsEndpoints"]
    assert endpoint == {"port": "health", "path": "/metrics"}
    for name in SERVICES:
        assert endpoint["port"] in {port["name"] for port in objects.app(name)["ports"]}


def test_the_dashboard_is_one_that_grafana_reads():
    data = rendering.combination(["monitoring"]).one("ConfigMap", "lifeline-dashboard")["data"]
    dashboard = json.loads(data["lifeline.json"])
    assert dashboard["uid"] == "lifeline"
    identifiers = [panel["id"] for panel in dashboard["panels"]]
    assert len(identifiers) == len(set(identifiers)) > 0


def test_namespace_adds_the_namespace():
    assert added(["namespace"]) == [("Namespace", "lifeline")]


@pytest.mark.parametrize("component", ["localstack", "embedded-aws"])
def test_an_aws_endpoint_is_a_service_a_pod_and_the_settings(component):
    objects = rendering.combination([component])
    base = rendering.base()
    new = [
        item["kind"] for item in objects if item["kind"] != "Deployment" and item not in base
    ]
    assert new == ["ConfigMap", "Service"]
    assert objects.names("Deployment") == sorted([*SERVICES, component])
    for name in SERVICES:
        gained = objects.settings(name).keys() - base.settings(name).keys()
        assert gained == {"AWS_ENDPOINT_HOST", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}


@pytest.mark.parametrize("component", ["liveness-probes", "readiness-and-startup-probes", "localstack"])
def test_a_renamed_container_breaks_the_build_instead_of_gaining_a_neighbour(component, tmp_path):
    tree = tmp_path / "kustomize"
    shutil.copytree(rendering.TREE, tree, ignore=shutil.ignore_patterns("tests"))
    file = tree / "base" / "consumer.yaml"
    text = file.read_text()
    assert "- name: app\n" in text
    file.write_text(text.replace("- name: app\n", "- name: main\n"))
    folder = tree / "overlays" / "renamed"
    folder.mkdir()
    (folder / "kustomization.yaml").write_text(
        f"resources: [../../base]\ncomponents: [../../components/{component}]\n"
    )
    result = rendering.run(folder)
    assert result.returncode != 0
    assert "testing value /spec/template/spec/containers/0/name failed" in result.stderr


@pytest.mark.parametrize("component", rendering.COMPONENTS)
def test_each_component_says_what_it_is_in_one_screen(component):
    readme = (rendering.TREE / "components" / component / "README.md").read_text()
    assert readme.startswith(f"# {component}\n")
    assert len(readme.splitlines()) <= 45
    if component != "aws-endpoint":
        assert f"../../components/{component}" in readme
        assert "\nSee: " in readme
