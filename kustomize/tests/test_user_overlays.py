"""What users make of the manifests: their own overlays, edited copies of ours, and objects of their own beside them.

Each case once failed, here or in a public report about another project, and mostly without a word from kustomize.
"""

import re
import subprocess

import pytest
import rendering
import yaml

SERVICES = ("producer", "consumer")
REPOSITORY = "https://github.com/lifeline-rs/lifeline"

# A name, and a tag or a digest (https://github.com/distribution/reference): what a node can pull.
IMAGE = re.compile(
    r"(?:(?:localhost|[a-z0-9-]+(?:\.[a-z0-9-]+)+|[a-z0-9-]+(?=:))(?::\d+)?/)?"
    r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}|@sha256:[0-9a-f]{64})"
)
ARN = re.compile(r"arn:aws(?:-cn|-us-gov)?:(?:sns:[a-z0-9-]+:\d{12}:[\w-]+(?:\.fifo)?|iam::\d{12}:role/[\w+=,.@/-]+)")
QUEUE = re.compile(r"https://sqs\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?/\d{12}/[\w-]+(?:\.fifo)?")

DIGEST = "sha256:" + "0a" * 32
# What `kustomize edit set image` is given, and what it writes for that.
IMAGES = {
    "ghcr.io/lifeline-rs/lifeline/NAME:0.1.0": {"newTag": "0.1.0"},
    "111122223333.dkr.ecr.eu-west-1.amazonaws.com/lifeline/NAME:0.2.0": {"newTag": "0.2.0"},
    "111122223333.dkr.ecr.cn-north-1.amazonaws.com.cn/team/lifeline/NAME:0.2.0": {"newTag": "0.2.0"},
    "registry.internal:5000/NAME:v1": {"newTag": "v1"},
    "localhost:5001/NAME:dev": {"newTag": "dev"},
    "registry:5000/a/b/c/NAME@" + DIGEST: {"digest": DIGEST},
    "europe-docker.pkg.dev/project/lifeline/NAME@" + DIGEST: {"digest": DIGEST},
    "team/NAME:1.2.3-rc.1": {"newTag": "1.2.3-rc.1"},
}


@pytest.fixture(params=rendering.ends(), ids=lambda path: "newest" if path == rendering.NEWEST else "oldest")
def kustomize(request):
    return lambda folder: rendering.build(folder, request.param)


@pytest.fixture
def tree(tmp_path):
    return rendering.copy_of_tree(tmp_path)


def edit(folder, change):
    """The kustomization in `folder`, changed in place, as Argo CD and Flux change it too."""
    file = folder / "kustomization.yaml"
    kustomization = yaml.safe_load(file.read_text())
    change(kustomization)
    file.write_text(yaml.safe_dump(kustomization, sort_keys=False))


def set_images(kustomization, image):
    """`kustomize edit set image localhost/NAME=IMAGE` for both services: it replaces by name and sorts."""
    entries = {entry["name"]: entry for entry in kustomization.get("images", [])}
    for service in SERVICES:
        name = re.match(r"(.*NAME)[:@]", image)[1].replace("NAME", service)
        entries[f"localhost/{service}"] = {"name": f"localhost/{service}", "newName": name} | IMAGES[image]
    kustomization["images"] = [entries[name] for name in sorted(entries)]


def sound(objects, namespace="lifeline"):
    """What must hold however the objects came to be."""
    for name, container in objects.containers():
        assert IMAGE.fullmatch(container["image"]), f"{name}: {container['image']}"
    for item in objects:
        assert item["metadata"].get("namespace") == (None if item["kind"] == "Namespace" else namespace), item["metadata"]
        for key, value in item["metadata"].get("annotations", {}).items():
            assert key != "eks.amazonaws.com/role-arn" or ARN.fullmatch(value), value
    for deployment in objects.names("Deployment"):
        settings = objects.settings(deployment)
        assert ARN.fullmatch(settings.get("TOPIC_ARN", "arn:aws:sns:x:000000000000:x"))
        assert QUEUE.fullmatch(settings.get("QUEUE_URL", "https://sqs.x.amazonaws.com/000000000000/x"))
    for scaled in objects.of("ScaledObject"):
        objects.one("Deployment", scaled["spec"]["scaleTargetRef"]["name"])
        for trigger in scaled["spec"]["triggers"]:
            objects.one("TriggerAuthentication", trigger["authenticationRef"]["name"])
            assert all(isinstance(value, str) for value in trigger["metadata"].values())
    assert "lifeline-values" not in objects.names("ConfigMap")


def test_patterns_are_neither_too_wide_nor_too_narrow():
    for image in ("111122223333.io/lifeline/producer:0.1.eu-west-1.x/y", "localhost/producer", "host:5000/producer:", "a//b:1"):
        assert not IMAGE.fullmatch(image)
    for image in IMAGES:
        assert IMAGE.fullmatch(image.replace("NAME", "producer"))
    assert not ARN.fullmatch("arn:aws:iam::ACCOUNT:role/lifeline-producer")


# --- our overlays, edited ---


OVERLAY_COMPONENTS = [
    (name, component)
    for name in rendering.OVERLAYS
    for component in yaml.safe_load((rendering.TREE / "overlays" / name / "kustomization.yaml").read_text())["components"]
]


@pytest.mark.parametrize("name, component", OVERLAY_COMPONENTS)
def test_any_component_can_be_left_out(name, component, tree, kustomize):
    edit(tree / "overlays" / name, lambda kustomization: kustomization["components"].remove(component))
    objects = kustomize(tree / "overlays" / name)
    sound(objects)
    assert len(objects) <= len(rendering.overlay(name))


@pytest.mark.parametrize("name, image", [("eks", image) for image in IMAGES] + [
    (name, image) for name in rendering.OVERLAYS if name != "eks" for image in list(IMAGES)[3:6]
])
def test_any_image_can_be_set(name, image, tree, kustomize):
    edit(tree / "overlays" / name, lambda kustomization: set_images(kustomization, image))
    objects = kustomize(tree / "overlays" / name)
    sound(objects)
    for service in SERVICES:
        assert objects.app(service)["image"] == image.replace("NAME", service)


def test_images_by_their_new_name_can_be_set_from_a_layer_above(tree, kustomize):
    above = rendering.write(tree / "overlays/mine", {
        "resources": ["../eks"],
        "images": [{"name": "ghcr.io/lifeline-rs/lifeline/producer", "newName": "registry:5000/producer", "digest": DIGEST}],
    })
    assert kustomize(above).app("producer")["image"] == f"registry:5000/producer@{DIGEST}"


@pytest.mark.parametrize("name", rendering.OVERLAYS)
def test_each_overlay_names_images_that_can_be_pulled(name):
    version = re.search(r'^version = "(.+)"', (rendering.TREE.parent / "Cargo.toml").read_text(), re.MULTILINE)[1]
    for service in SERVICES:
        prefix = "ghcr.io/lifeline-rs/lifeline" if name == "eks" else "localhost"
        assert rendering.overlay(name).app(service)["image"] == f"{prefix}/{service}:{version}"


@pytest.mark.parametrize("components", [["../../components/autoscaling"], ["../../components/aws-identity"], ["../../components/aws-resources"]])
def test_without_values_nothing_is_rendered(components, tree):
    above = rendering.write(tree / "overlays/mine", {"resources": ["../offline"], "components": components})
    for kubectl in rendering.ends():
        result = rendering.run(above, kubectl)
        assert result.returncode != 0 and "lifeline-values" in result.stderr


@pytest.mark.parametrize("change", [
    {"patches": [{"patch": yaml.safe_dump(rendering.VALUES)}]},
    {"configMapGenerator": [{"name": "lifeline-values", "behavior": "merge", "literals": ["region=x"]}]},
])
def test_values_that_come_too_late_are_refused(change, tree):
    above = rendering.write(tree / "overlays/mine", {"resources": ["../eks"]} | change)
    for kubectl in rendering.ends():
        result = rendering.run(above, kubectl)
        assert result.returncode != 0 and "lifeline-values" in result.stderr


# --- beside objects of the user's ---

FOREIGN = [
    {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "lifeline"},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": container, "image": image, "env": [{"name": "WHERE", "value": "aws"}]}]},
            },
        },
    }
    for name, container, image in [
        ("orders", "app", "registry.internal:5000/me/orders:1.2.3"),
        ("billing", "billing", "me/billing@" + DIGEST),
        ("my-producer", "app", "me/producer:1"),
        ("consumer-2", "app", "ghcr.io/me/consumer:1"),
    ]
] + [
    {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "orders", "namespace": "lifeline"}},
    {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {
        "name": "other", "namespace": "lifeline", "annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::999988887777:role/other"},
    }},
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "orders", "namespace": "lifeline"}, "data": {"AWS_REGION": "x"}},
    {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "orders", "namespace": "lifeline"}, "spec": {"ports": [{"port": 80}]}},
    {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "orders", "namespace": "lifeline"}, "spec": {
        "scaleTargetRef": {"name": "orders"}, "triggers": [{"type": "cpu", "metadata": {"value": "60"}}],
    }},
    {"apiVersion": "sqs.services.k8s.aws/v1alpha1", "kind": "Queue", "metadata": {"name": "orders", "namespace": "lifeline"}, "spec": {
        "queueName": "orders",
    }},
    {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "orders", "namespace": "lifeline"}, "spec": {
        "maxUnavailable": 1,
    }},
    {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "orders", "namespace": "lifeline"}, "spec": {
        "podSelector": {},
    }},
]


def untouched(objects, namespace="lifeline"):
    for item in FOREIGN:
        item = item | {"metadata": item["metadata"] | {"namespace": namespace}}
        assert item in objects, (item["kind"], item["metadata"]["name"])


def foreign(folder, namespace="lifeline"):
    for number, item in enumerate(FOREIGN):
        metadata = item["metadata"] | {"namespace": namespace}
        (folder / f"foreign-{number}.yaml").write_text(yaml.safe_dump(item | {"metadata": metadata}))
    return [f"foreign-{number}.yaml" for number in range(len(FOREIGN))]


@pytest.mark.parametrize("name", rendering.OVERLAYS)
def test_objects_in_the_same_kustomization_are_left_alone(name, tree, kustomize):
    folder = tree / "overlays" / name
    edit(folder, lambda kustomization: kustomization["resources"].extend(foreign(folder)))
    objects = kustomize(folder)
    untouched(objects)
    assert [item for item in objects if item not in FOREIGN] == rendering.overlay(name)


@pytest.mark.parametrize("emulator", ["localstack", "embedded-aws"])
def test_objects_beside_every_component_are_left_alone(emulator, tree, kustomize):
    folder = tree / "overlays/mine"
    others = [name for name in rendering.COMPONENTS if name not in {"localstack", "embedded-aws", "aws-endpoint"}]
    rendering.write(folder, {}, values=rendering.VALUES)
    rendering.write(folder, {
        "resources": ["../../base", "values.yaml", *foreign(folder, "shop")],
        "components": [f"../../components/{name}" for name in [emulator, *others]],
    })
    # Theirs are in another namespace, and stay there.
    untouched(kustomize(folder), "shop")


# --- overlays of the user's own ---


def addition(component):
    """What a component's README says under "Add"."""
    readme = (rendering.TREE / "components" / component / "README.md").read_text()
    return yaml.safe_load(re.search(r"^Add.*?^```yaml\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)[1])


ADDED = [name for name in rendering.COMPONENTS if name != "aws-endpoint"]


# Not what `offline` has already, and not the twin of its endpoint.
ON_OFFLINE = [
    name for name in ADDED
    if name not in {"localstack", "embedded-aws", "namespace", "liveness-probes", "readiness-and-startup-probes"}
]


@pytest.mark.parametrize("namespace", [None, "orders"])
@pytest.mark.parametrize("below, component", [("base", name) for name in ADDED] + [("overlays/offline", name) for name in ON_OFFLINE])
def test_a_component_is_added_as_its_readme_says(component, namespace, below, tree, kustomize):
    folder = tree / "overlays/mine"
    add = addition(component)
    resources = [f"../../{below}", *add.get("resources", [])]
    rendering.write(
        folder,
        {"resources": resources, "components": add["components"]} | ({"namespace": namespace} if namespace else {}),
        values=rendering.VALUES,
    )
    objects = kustomize(folder)
    sound(objects, namespace or "lifeline")
    assert objects.names("Namespace") in ([], [namespace or "lifeline"])


@pytest.mark.parametrize("component", ADDED)
def test_an_object_of_a_component_is_patched_by_kind_and_name_alone(component, tree, kustomize):
    folder = tree / "overlays/mine"
    add = addition(component)
    kustomization = {"resources": ["../../base", *add.get("resources", [])], "components": add["components"]}
    base = {(item["kind"], item["metadata"]["name"]) for item in rendering.base()}
    rendering.write(folder, kustomization, values=rendering.VALUES)
    new = [
        item for item in rendering.build(folder)
        if (item["kind"], item["metadata"]["name"]) not in base and item["kind"] != "ConfigMap"
    ]
    patches = [
        {"patch": yaml.safe_dump({
            "apiVersion": item["apiVersion"], "kind": item["kind"],
            "metadata": {"name": item["metadata"]["name"], "annotations": {"mine": "yes"}},
        })}
        for item in new
    ]
    rendering.write(folder, kustomization | {"patches": patches})
    objects = kustomize(folder)
    for item in new:
        assert objects.one(item["kind"], item["metadata"]["name"])["metadata"]["annotations"]["mine"] == "yes"


@pytest.mark.parametrize("below, component", [(name, None) for name in rendering.OVERLAYS] + [("eks", "monitoring"), ("eks", "ack")])
def test_a_prefix_and_a_suffix_are_followed(below, component, tree, kustomize):
    if component:
        edit(tree / "overlays" / below, lambda kustomization: kustomization["components"].append(f"../../components/{component}"))
    above = rendering.write(tree / "overlays/mine", {"namePrefix": "team-", "nameSuffix": "-blue", "resources": [f"../{below}"]})
    objects = kustomize(above)
    sound(objects)
    for subscription in objects.of("Subscription"):
        objects.one("Topic", subscription["spec"]["topicRef"]["from"]["name"])
    for item in objects:
        name = item["metadata"]["name"]
        assert item["kind"] == "Namespace" or name.startswith("team-") and "-blue" in name
    for service in objects.of("Service"):
        for name in SERVICES:
            host = objects.settings(f"team-{name}-blue")["AWS_ENDPOINT_URL"]
            assert host == f"http://{service['metadata']['name']}:4566"


@pytest.mark.parametrize("name", rendering.OVERLAYS)
def test_a_sidecar_takes_nothing_from_the_service(name, tree, kustomize):
    sidecar = yaml.safe_dump({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "consumer"},
        "spec": {"template": {"spec": {"containers": [{"name": "orders", "image": "me/orders:1"}]}}},
    })
    above = rendering.write(tree / "overlays/mine", {"resources": [f"../{name}"], "patches": [{"patch": sidecar}]})
    objects = kustomize(above)
    template = objects.one("Deployment", "consumer")["spec"]["template"]
    # kustomize puts it first, where `kubectl logs` and KEDA would look.
    assert [container["name"] for container in template["spec"]["containers"]] == ["orders", "app"]
    assert template["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"] == "app"
    for scaled in objects.of("ScaledObject"):
        assert scaled["spec"]["scaleTargetRef"]["envSourceContainerName"] == "app"


@pytest.mark.parametrize("values", [
    {"region": "cn-north-1", "topicArn": "arn:aws-cn:sns:cn-north-1:012345678901:events",
     "queueUrl": "https://sqs.cn-north-1.amazonaws.com.cn/012345678901/events-consumer",
     "producerRole": "arn:aws-cn:iam::012345678901:role/team/lifeline-producer",
     "consumerRole": "arn:aws-cn:iam::012345678901:role/team/lifeline-consumer"},
    {"region": "us-gov-west-1", "topicArn": "arn:aws-us-gov:sns:us-gov-west-1:012345678901:orders.fifo",
     "queueUrl": "https://sqs.us-gov-west-1.amazonaws.com/012345678901/orders.fifo",
     "producerRole": "arn:aws-us-gov:iam::012345678901:role/lifeline-producer",
     "consumerRole": "arn:aws-us-gov:iam::012345678901:role/lifeline-consumer"},
])
def test_values_are_taken_as_they_are_in_any_partition(values, tree, kustomize):
    (tree / "overlays/eks/values.yaml").write_text(yaml.safe_dump(rendering.VALUES | {"data": values}))
    objects = kustomize(tree / "overlays/eks")
    sound(objects)
    assert objects.settings("producer")["TOPIC_ARN"] == values["topicArn"]
    assert objects.settings("consumer")["QUEUE_URL"] == values["queueUrl"]
    for service in SERVICES:
        assert objects.settings(service)["AWS_REGION"] == values["region"]
        role = objects.one("ServiceAccount", service)["metadata"]["annotations"]["eks.amazonaws.com/role-arn"]
        assert role == values[f"{service}Role"]
    (trigger,) = objects.one("ScaledObject", "consumer")["spec"]["triggers"]
    assert trigger["metadata"]["awsRegion"] == values["region"]
    # No word of the example is left.
    for value in rendering.VALUES["data"].values():
        assert value not in yaml.safe_dump_all(objects)


# --- as typed in the READMEs ---


def blocks(readme):
    """The README's YAML, block by block."""
    found = re.findall(r"^( *)```yaml\n(.*?)^ *```", (rendering.TREE / readme).read_text(), re.MULTILINE | re.DOTALL)
    return [yaml.safe_load(text) for _, text in found]


def test_the_readmes_own_overlay_is_built_from_a_git_url(tmp_path, kustomize):
    """As another repository would, by URL and tag; only the URL's host is ours."""
    project = tmp_path / "project"
    rendering.copy_of_tree(project)
    for command in (
        ["init", "--quiet"],
        ["add", "."],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "release"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "tag", "v0.1.0"],
    ):
        subprocess.run(["git", "-C", project, *command], check=True)
    example = blocks("README.md")[0]
    text = yaml.safe_dump(example)
    assert text.count(REPOSITORY) == 6
    mine = rendering.write(tmp_path / "mine", yaml.safe_load(text.replace(REPOSITORY, f"file://{project}")), values=rendering.VALUES)
    objects = kustomize(mine)
    sound(objects, example["namespace"])
    assert objects.settings("consumer")["HANDLER_URL"] == "http://orders.shop.svc/events"
    assert objects.settings("consumer")["QUEUE_URL"] == rendering.VALUES["data"]["queueUrl"]
    for service in SERVICES:
        assert objects.app(service)["image"] == f"ghcr.io/lifeline-rs/lifeline/{service}:0.1.0"
        assert {"livenessProbe", "readinessProbe", "startupProbe"} <= objects.app(service).keys()


def test_the_readmes_grace_covers_pod_and_program(tree, kustomize):
    grace = blocks("README.md")[1]
    objects = kustomize(rendering.write(tree / "overlays/mine", {"resources": ["../../base"]} | grace))
    drain = int(objects.settings("consumer")["SHUTDOWN_GRACE"].removesuffix("s"))
    assert drain == 120
    assert objects.one("Deployment", "consumer")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == drain + 15


def test_the_scaling_counts_with_the_setting_as_its_readme_says(tree, kustomize):
    setting = blocks("components/autoscaling/README.md")[1]
    rendering.write(tree / "overlays/mine/max-in-flight", setting)
    above = rendering.write(tree / "overlays/mine", {
        "resources": ["../../base", "values.yaml"],
        "components": ["max-in-flight", *addition("autoscaling")["components"]],
    }, values=rendering.VALUES)
    objects = kustomize(above)
    (trigger,) = objects.one("ScaledObject", "consumer")["spec"]["triggers"]
    assert trigger["metadata"]["queueLength"] == objects.settings("consumer")["MAX_IN_FLIGHT"] == "16"


def test_the_readme_names_the_released_version():
    version = re.search(r'^version = "(.+)"', (rendering.TREE.parent / "Cargo.toml").read_text(), re.MULTILINE)[1]
    readme = (rendering.TREE / "README.md").read_text()
    assert set(re.findall(r"\?ref=v([\w.]+)", readme)) == {version}
    assert set(re.findall(r"(?:localhost|ghcr\.io/lifeline-rs/lifeline)/\w+:([\w.]+)", readme)) == {version}


def test_the_readme_links_every_component():
    readme = (rendering.TREE / "README.md").read_text()
    for name in set(rendering.COMPONENTS) - {"aws-endpoint"}:
        assert f"](components/{name})" in readme
