"""What holds for every pod, whichever way it came to be."""

import re

import pytest
import rendering


def test_one_container_each_and_it_is_called_app(rendered):
    # A patch for a container of another name adds one, without a word.
    for name, pod in rendered.pods():
        assert [container["name"] for container in pod["containers"]] == ["app"], name
        assert not pod.keys() & {"initContainers", "ephemeralContainers"}, name


def test_the_restricted_standard_is_met_in_full(rendered):
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted, baseline included."""
    for name, pod in rendered.pods():
        assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC"}, name
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not pod["securityContext"].keys() & {"sysctls", "seLinuxOptions", "appArmorProfile"}
        for volume in pod.get("volumes", []):
            assert volume.keys() - {"name"} <= {"configMap", "downwardAPI", "emptyDir", "projected", "secret"}
    for name, container in rendered.containers():
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False, name
        assert context["capabilities"] == {"drop": ["ALL"]}, name
        assert not context.keys() & {"privileged", "procMount", "runAsUser", "runAsNonRoot", "seccompProfile"}, name
        assert not [port for port in container["ports"] if "hostPort" in port], name
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert "host" not in container.get(probe, {}).get("httpGet", {}), name


def test_the_root_is_read_only_but_for_localstack(rendered):
    for name, container in rendered.containers():
        # LocalStack makes a cache in its home when it starts, and ends if it cannot.
        assert container["securityContext"].get("readOnlyRootFilesystem", False) is (name != "localstack"), name


def test_no_pod_gets_an_api_token_or_service_links(rendered):
    for name, pod in rendered.pods():
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["enableServiceLinks"] is False, name
    for account in rendered.of("ServiceAccount"):
        assert account["automountServiceAccountToken"] is False


def test_requests_and_limits_are_complete(rendered):
    for name, container in rendered.containers():
        resources = container["resources"]
        assert resources["requests"].keys() == resources["limits"].keys() == {"cpu", "memory"}, name


def test_images_are_fixed_and_need_no_registry(rendered):
    for name, container in rendered.containers():
        image, _, tag = container["image"].rpartition(":")
        assert image and tag and tag != "latest" and "/" not in tag, f"{name}: {container['image']}"
        assert container["imagePullPolicy"] == "IfNotPresent", name


def test_our_images_carry_the_workspace_version(rendered):
    workspace = (rendering.TREE.parent / "Cargo.toml").read_text()
    version = re.search(r'^\[workspace\.package\]\n(?:.*\n)*?version = "(.+)"', workspace, re.MULTILINE).group(1)
    for name, container in rendered.containers():
        if name != "localstack":
            assert container["image"].rpartition(":")[2] == version, name


@pytest.mark.parametrize("name", ["producer", "consumer"])
def test_a_rollout_never_has_fewer_pods(rendered, name):
    strategy = rendered.one("Deployment", name)["spec"]["strategy"]
    # With the type: without it, kubectl patches the Deployment at every apply.
    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0}}


@pytest.mark.parametrize("name", ["producer", "consumer"])
def test_the_drain_ends_before_the_kill(rendered, name):
    # Five seconds to cancel, release, and write the account.
    drain = int(rendered.settings(name)["SHUTDOWN_GRACE"].removesuffix("s"))
    pod = rendered.one("Deployment", name)["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] >= drain + 5


@pytest.mark.parametrize("name", ["producer", "consumer"])
def test_a_failed_probe_waits_for_the_drain_and_not_longer(rendered, name):
    probe = rendered.app(name).get("livenessProbe")
    if not probe:
        return
    drain = int(rendered.settings(name)["SHUTDOWN_GRACE"].removesuffix("s"))
    pod = rendered.one("Deployment", name)["spec"]["template"]["spec"]
    assert drain + 5 <= probe["terminationGracePeriodSeconds"] < pod["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("name", ["producer", "consumer"])
def test_each_service_has_its_own_account_port_and_settings(rendered, name):
    pod = rendered.one("Deployment", name)["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == name
    assert rendered.app(name)["ports"] == [{"name": "health", "containerPort": 5000}]
    assert rendered.app(name)["envFrom"][0]["configMapRef"]["name"].startswith(f"{name}-")


@pytest.mark.parametrize("name", ["producer", "consumer"])
def test_names_with_three_dots_are_looked_up_as_they_are(rendered, name):
    # Kubernetes' 5 asks for `sqs.eu-west-1.amazonaws.com` under each search domain first, and musl gives up if one fails.
    pod = rendered.one("Deployment", name)["spec"]["template"]["spec"]
    assert pod["dnsConfig"] == {"options": [{"name": "ndots", "value": "3"}]}


@pytest.mark.parametrize("name", ["producer", "consumer"])
def test_kubectl_means_the_service_and_no_sidecar(rendered, name):
    annotations = rendered.one("Deployment", name)["spec"]["template"]["metadata"]["annotations"]
    assert annotations == {"kubectl.kubernetes.io/default-container": "app"}


@pytest.mark.parametrize("name", ["producer", "consumer"])
def test_the_number_of_pods_is_left_to_who_scales(rendered, name):
    assert "replicas" not in rendered.one("Deployment", name)["spec"]


def test_an_emulator_is_never_there_twice(rendered):
    for name in {"localstack", "embedded-aws"} & set(rendered.names("Deployment")):
        assert rendered.one("Deployment", name)["spec"]["strategy"] == {"type": "Recreate"}
