"""What each overlay is for."""

import re

import pytest
import rendering

PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
SERVICES = ("producer", "consumer")


def test_the_base_is_two_deployments_without_probes_or_endpoint():
    base = rendering.base()
    assert base.names("Deployment") == ["consumer", "producer"]
    assert base.names("ServiceAccount") == ["consumer", "producer"]
    assert {item["kind"] for item in base} == {"ConfigMap", "Deployment", "ServiceAccount"}
    for name in SERVICES:
        assert not base.app(name).keys() & set(PROBES)
        assert not [key for key in base.settings(name) if key.startswith("AWS_")]


@pytest.mark.parametrize("name", rendering.OVERLAYS)
def test_overlays_live_in_one_restricted_namespace(name):
    objects = rendering.overlay(name)
    namespace = objects.one("Namespace", "lifeline")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for item in objects:
        if item["kind"] != "Namespace":
            assert item["metadata"]["namespace"] == "lifeline", item["metadata"]["name"]


@pytest.mark.parametrize("name", rendering.OVERLAYS)
@pytest.mark.parametrize("service", SERVICES)
def test_overlays_probe_both_services(name, service):
    container = rendering.overlay(name).app(service)
    assert container["livenessProbe"] == {
        "httpGet": {"path": "/health", "port": "health"},
        "periodSeconds": 10,
        "timeoutSeconds": 2,
        "failureThreshold": 3,
        "terminationGracePeriodSeconds": 30,
    }
    assert container["readinessProbe"]["httpGet"] == {"path": "/ready", "port": "health"}
    # Not /ready: the kubelet would restart what waits for AWS.
    assert container["startupProbe"]["httpGet"] == {"path": "/health", "port": "health"}


@pytest.mark.parametrize("name, aws", [("minikube", "localstack"), ("offline", "embedded-aws")])
def test_local_overlays_are_three_pods_and_one_endpoint(name, aws):
    objects = rendering.overlay(name)
    assert objects.names("Deployment") == sorted(["consumer", aws, "producer"])
    (service,) = objects.of("Service")
    address = f"{service['metadata']['name']}:{service['spec']['ports'][0]['port']}"
    assert address == "aws:4566"
    for service_name in SERVICES:
        settings = objects.settings(service_name)
        assert settings["AWS_ENDPOINT_URL"] == f"http://{address}"
        # Signing needs some; nothing checks them.
        assert (settings["AWS_ACCESS_KEY_ID"], settings["AWS_SECRET_ACCESS_KEY"]) == ("test", "test")


def test_the_two_local_overlays_differ_in_the_aws_pod_alone():
    def without_it(name):
        objects = rendering.overlay(name)
        return [
            item for item in objects if item["kind"] != "Deployment" or item["metadata"]["name"] in SERVICES
        ]

    assert without_it("minikube") == without_it("offline")


def test_localstack_is_the_last_free_release_with_what_pods_need():
    objects = rendering.overlay("minikube")
    assert objects.app("localstack")["image"] == "localstack/localstack:4.14.0"
    settings = objects.settings("localstack")
    assert settings["SERVICES"] == "sns,sqs"
    # Queue URLs have the host by which it was asked, in the cluster and through a port-forward.
    assert "LOCALSTACK_HOST" not in settings
    assert settings["SQS_ENDPOINT_STRATEGY"] == "dynamic"
    assert "PERSISTENCE" not in settings
    for probe in PROBES:
        assert objects.app("localstack")[probe]["httpGet"]["path"] == "/_localstack/health"


def test_offline_pulls_nothing():
    for name, container in rendering.overlay("offline").containers():
        assert container["image"].startswith("localhost/"), name


def test_eks_has_no_endpoint_and_no_keys():
    text = rendering.text_of(rendering.TREE / "overlays" / "eks")
    # With either in the environment, the SDK would not look for the role.
    for forbidden in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "http://"):
        assert forbidden not in text
    eks = rendering.overlay("eks")
    assert eks.names("Deployment") == ["consumer", "producer"]
    assert not eks.of("Secret")
    assert "PROVISION" not in eks.settings("producer") | eks.settings("consumer")


def test_eks_gives_each_service_its_role():
    eks = rendering.overlay("eks")
    for name in SERVICES:
        role = eks.one("ServiceAccount", name)["metadata"]["annotations"]["eks.amazonaws.com/role-arn"]
        assert re.fullmatch(rf"arn:aws:iam::\d{{12}}:role/lifeline-{name}", role)


def test_eks_names_the_topic_and_the_queue():
    eks = rendering.overlay("eks")
    assert re.fullmatch(r"arn:aws:sns:[a-z0-9-]+:\d{12}:events", eks.settings("producer")["TOPIC_ARN"])
    assert re.fullmatch(
        r"https://sqs\.[a-z0-9-]+\.amazonaws\.com/\d{12}/events-consumer", eks.settings("consumer")["QUEUE_URL"]
    )


def test_eks_scales_on_the_queue_that_the_consumer_reads():
    eks = rendering.overlay("eks")
    scaled = eks.one("ScaledObject", "consumer")["spec"]
    assert scaled["scaleTargetRef"] == {"name": "consumer", "envSourceContainerName": "app"}
    (trigger,) = scaled["triggers"]
    assert trigger["type"] == "aws-sqs-queue"
    settings = eks.settings("consumer")
    assert trigger["metadata"] == {
        "queueURLFromEnv": "QUEUE_URL",
        "queueLength": settings["MAX_IN_FLIGHT"],
        "awsRegion": settings["AWS_REGION"],
        "scaleOnInFlight": "true",
        "scaleOnDelayed": "false",
    }
    assert "QUEUE_URL" in settings
    authentication = eks.one("TriggerAuthentication", trigger["authenticationRef"]["name"])
    assert authentication["spec"] == {"podIdentity": {"provider": "aws", "identityOwner": "keda"}}


def test_eks_keeps_consuming_while_keda_cannot_read_the_queue():
    scaled = rendering.overlay("eks").one("ScaledObject", "consumer")["spec"]
    fallback = scaled["fallback"]
    assert fallback["behavior"] == "currentReplicasIfHigher"
    assert max(1, scaled["minReplicaCount"]) <= fallback["replicas"] <= scaled["maxReplicaCount"]
    # Before LifelineScalerFails speaks, which waits for ten minutes.
    assert fallback["failureThreshold"] * scaled["pollingInterval"] < 600


@pytest.mark.parametrize("service", SERVICES)
def test_eks_spreads_over_zones_and_keeps_a_budget(service):
    eks = rendering.overlay("eks")
    (constraint,) = eks.one("Deployment", service)["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert constraint["topologyKey"] == "topology.kubernetes.io/zone"
    budget = eks.one("PodDisruptionBudget", service)["spec"]
    template = eks.one("Deployment", service)["spec"]["template"]["metadata"]["labels"]
    assert budget["selector"]["matchLabels"].items() <= template.items()
    # With one pod, minAvailable would block every drain of its node.
    assert budget["maxUnavailable"] == 1


def test_eks_denies_all_traffic_and_then_opens_what_is_needed():
    eks = rendering.overlay("eks")
    deny = eks.one("NetworkPolicy", "deny-all")["spec"]
    assert deny == {
        "podSelector": {"matchLabels": {"app.kubernetes.io/part-of": "lifeline"}},
        "policyTypes": ["Ingress", "Egress"],
    }
    egress = eks.one("NetworkPolicy", "services")["spec"]["egress"]
    opened = {(port.get("protocol", "TCP"), port["port"]) for rule in egress for port in rule["ports"]}
    assert {("UDP", 53), ("TCP", 53), ("TCP", 443), ("TCP", 80)} <= opened
    # The only plain HTTP goes to the Pod Identity agent.
    (agent,) = [rule for rule in egress if {"port": 80} in rule["ports"]]
    assert agent["to"] == [{"ipBlock": {"cidr": cidr}} for cidr in ("169.254.170.23/32", "fd00:ec2::23/128")]


def test_both_address_families_reach_an_aws_endpoint():
    assert rendering.overlay("minikube").settings("localstack")["GATEWAY_LISTEN"] == "[::]:4566"
    args = rendering.overlay("offline").app("embedded-aws")["args"]
    assert args[:3] == ["aws", "--listen", "[::]:4566"]
    # Where nothing is said the services listen on both by themselves.
    for name in rendering.OVERLAYS:
        for service in SERVICES:
            assert "HEALTH_ADDR" not in rendering.overlay(name).settings(service)


def test_the_emulator_throttles_before_its_pod_is_out_of_memory():
    app = rendering.overlay("offline").app("embedded-aws")
    most = int(app["args"][app["args"].index("--memory-limit") + 1])
    assert most * 1.5 <= int(app["resources"]["limits"]["memory"].removesuffix("Mi"))


def test_eks_says_what_becomes_of_a_message():
    # On real AWS the consumer has no default.
    assert rendering.overlay("eks").settings("consumer")["HANDLER"]


def test_nothing_of_the_values_is_applied():
    assert "lifeline-values" not in rendering.text_of(rendering.TREE / "overlays" / "eks")
