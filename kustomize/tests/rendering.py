"""Renders kustomizations as `kubectl apply -k` would, and says what the result holds.

The tests ask for overlays by name and for combinations of components by theirs; the same question is rendered once.
"""

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

TREE = Path(__file__).resolve().parent.parent
OVERLAYS = sorted(folder.name for folder in (TREE / "overlays").iterdir())
COMPONENTS = sorted(folder.name for folder in (TREE / "components").iterdir())

# What people would put together besides the overlays; each is applied to the base in this order.
COMBINATIONS = {
    "base alone": [],
    "the exercise's first step": ["namespace", "localstack"],
    "the exercise's second step": ["namespace", "localstack", "liveness-probes"],
    "the exercise with curl": ["localstack", "liveness-probes", "debug-images"],
    "offline with curl": ["embedded-aws", "liveness-probes", "readiness-and-startup-probes", "debug-images"],
    "offline without probes": ["embedded-aws"],
    "offline, monitored": ["embedded-aws", "liveness-probes", "monitoring"],
    "offline behind policies": ["embedded-aws", "network-policies"],
    "LocalStack behind policies": ["localstack", "network-policies", "disruption-budget"],
    "real AWS by roles": ["aws-identity", "liveness-probes", "readiness-and-startup-probes"],
    "real AWS by Pod Identity, scaled": ["autoscaling", "liveness-probes", "disruption-budget"],
    "real AWS, monitored": ["aws-identity", "network-policies", "monitoring"],
}


def kubectls():
    """The newest kubectl, beside this Python, and the one on the PATH where that is another."""
    newest = Path(sys.executable).parent / "kubectl"
    installed = shutil.which("kubectl", path=os.pathsep.join(
        folder for folder in os.environ["PATH"].split(os.pathsep) if Path(folder) != newest.parent
    ))
    return [str(newest)] + ([installed] if installed else [])


NEWEST = kubectls()[0]


class Rendered(list):
    """The objects of one rendering."""

    def of(self, kind):
        return [item for item in self if item["kind"] == kind]

    def one(self, kind, name):
        found = [item for item in self.of(kind) if item["metadata"]["name"] == name]
        assert len(found) == 1, f"{kind}/{name}: {len(found)} of them, among {self.names(kind)}"
        return found[0]

    def names(self, kind):
        return sorted(item["metadata"]["name"] for item in self.of(kind))

    def pods(self):
        """(Deployment's name, pod spec)"""
        return [(item["metadata"]["name"], item["spec"]["template"]["spec"]) for item in self.of("Deployment")]

    def containers(self):
        """(Deployment's name, container), for every kind of container"""
        return [
            (name, container)
            for name, pod in self.pods()
            for kind in ("initContainers", "containers", "ephemeralContainers")
            for container in pod.get(kind, [])
        ]

    def app(self, deployment):
        (container,) = self.one("Deployment", deployment)["spec"]["template"]["spec"]["containers"]
        return container

    def settings(self, deployment):
        """The environment that `deployment`'s container gets, by name."""
        container = self.app(deployment)
        environment = {}
        for source in container.get("envFrom", []):
            environment |= self.one("ConfigMap", source["configMapRef"]["name"])["data"]
        return environment | {item["name"]: item["value"] for item in container.get("env", [])}


def run(folder, kubectl=NEWEST):
    return subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True)


def parse(text):
    return Rendered(item for item in yaml.safe_load_all(text) if item)


@functools.cache
def text_of(folder, kubectl=NEWEST):
    result = run(folder, kubectl)
    assert result.returncode == 0, result.stderr
    assert not result.stderr, f"{folder} renders with a warning: {result.stderr}"
    return result.stdout


def relative(part, folder):
    """The way from a folder to a part of the tree: kustomize takes no absolute paths."""
    return os.path.relpath(TREE / part, os.path.realpath(folder))


def overlay(name, kubectl=NEWEST):
    return parse(text_of(TREE / "overlays" / name, kubectl))


def base():
    return parse(text_of(TREE / "base"))


@functools.cache
def text_of_combination(components, kubectl=NEWEST):
    with tempfile.TemporaryDirectory() as folder:
        # kustomize takes no absolute paths.
        tree = os.path.relpath(TREE, os.path.realpath(folder))
        kustomization = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [f"{tree}/base"],
            "components": [f"{tree}/components/{component}" for component in components],
        }
        Path(folder, "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        return text_of(folder, kubectl)


def combination(components, kubectl=NEWEST):
    return parse(text_of_combination(tuple(components), kubectl))


def everything():
    """(what it is, its objects) for every overlay and combination."""
    return [(f"overlays/{name}", overlay(name)) for name in OVERLAYS] + [
        (name, combination(components)) for name, components in COMBINATIONS.items()
    ]
