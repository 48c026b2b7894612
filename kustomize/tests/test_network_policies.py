"""What the network policies let through, worked out from the rendered objects as the API's documentation defines it.

A cluster here that enforces policies is not to be had; this holds their meaning, not a network plugin's.
"""

import ipaddress
import re
import sys

import kubernetes_validate
import pytest
import rendering
import yaml

OURS, OTHER = "lifeline", "other"


def pod(name, namespace=OURS):
    """A pod of ours by its Deployment's name, or a stranger."""
    if namespace == OURS:
        template = objects().one("Deployment", name)["spec"]["template"]
        ports = {port["name"]: port["containerPort"] for port in template["spec"]["containers"][0]["ports"]}
        return {"namespace": namespace, "labels": template["metadata"]["labels"], "ports": ports}
    return {"namespace": namespace, "labels": {"app": name}, "ports": {}}


def outside(address):
    return {"address": ipaddress.ip_address(address), "ports": {}}


# Policies that a test adds to ours.
ADDED = []


def objects():
    return rendering.Rendered([*rendering.combination(["embedded-aws", "network-policies"]), *ADDED])


def selects(selector, labels):
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "In"
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    return selector.get("matchLabels", {}).items() <= labels.items()


def is_peer(peer, party):
    if "ipBlock" in peer:
        return "address" in party and party["address"] in ipaddress.ip_network(peer["ipBlock"]["cidr"])
    if "address" in party:
        return False
    if "namespaceSelector" in peer:
        if not selects(peer["namespaceSelector"], {"kubernetes.io/metadata.name": party["namespace"]}):
            return False
    elif party["namespace"] != OURS:
        return False
    return selects(peer.get("podSelector", {}), party["labels"])


def opens(rule, peers, party, target, port, protocol):
    ports = [(target["ports"].get(item["port"], item["port"]), item.get("protocol", "TCP")) for item in rule["ports"]]
    return (peers not in rule or any(is_peer(peer, party) for peer in rule[peers])) and (port, protocol) in ports


def passes(source, target, port, protocol="TCP"):
    """Whether a connection gets out of `source` and into `target`."""
    for direction, peers, here, there in (("Egress", "to", source, target), ("Ingress", "from", target, source)):
        if here.get("namespace") != OURS:
            continue
        binding = [
            policy["spec"]
            for policy in objects().of("NetworkPolicy")
            if selects(policy["spec"]["podSelector"], here["labels"]) and direction in policy["spec"]["policyTypes"]
        ]
        rules = [rule for spec in binding for rule in spec.get(direction.lower(), [])]
        if binding and not any(opens(rule, peers, there, target, port, protocol) for rule in rules):
            return False
    return True


@pytest.mark.parametrize("service", ["producer", "consumer"])
def test_a_service_reaches_what_it_needs(service):
    source = pod(service)
    assert passes(source, pod("embedded-aws"), 4566)
    for protocol in ("UDP", "TCP"):
        assert passes(source, pod("coredns", OTHER), 53, protocol)
        # The node's cache; DNS on the host network of a node, in both families
        for address in ("169.254.20.10", "10.0.3.7", "2001:db8::7"):
            assert passes(source, outside(address), 53, protocol)
    assert passes(source, pod("collector", OTHER), 4318)
    # SQS, and the Pod Identity agent
    assert passes(source, outside("52.94.1.1"), 443)
    assert passes(source, outside("2600:1f13::1"), 443)
    assert passes(source, outside("169.254.170.23"), 80)
    assert passes(source, outside("fd00:ec2::23"), 80)


@pytest.mark.parametrize("service", ["producer", "consumer"])
def test_a_service_reaches_nothing_else(service):
    source = pod(service)
    # The node's own credentials among it
    assert not passes(source, outside("169.254.169.254"), 80)
    assert not passes(source, outside("fd00:ec2::254"), 80)
    # A collector outside of the cluster is named by a policy of the user's
    assert not passes(source, outside("52.94.1.1"), 4318)
    assert not passes(source, outside("52.94.1.1"), 80)
    assert not passes(source, pod("database", OTHER), 5432)
    assert not passes(source, pod("producer" if service == "consumer" else "consumer"), 5000)


@pytest.mark.parametrize("service", ["producer", "consumer"])
def test_metrics_are_collected_from_elsewhere_and_nothing_more(service):
    assert passes(pod("prometheus", OTHER), pod(service), 5000)
    assert not passes(pod("prometheus", OTHER), pod(service), 5001)


def test_strangers_do_not_reach_the_aws_endpoint_which_reaches_nobody():
    aws = pod("embedded-aws")
    assert not passes(pod("stranger", OTHER), aws, 4566)
    assert not passes(aws, outside("52.94.1.1"), 443)
    assert not passes(aws, pod("consumer"), 5000)


def test_the_policy_of_the_readme_opens_a_handler_and_a_proxy(monkeypatch):
    readme = (rendering.TREE / "components" / "network-policies" / "README.md").read_text()
    (policy,) = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL) if "kind:" in block]
    kubernetes_validate.validate(policy, "1.37", strict=True)
    handler = {"namespace": "shop", "labels": {"app": "orders"}, "ports": {}}
    proxy = outside("10.0.0.5")
    assert not passes(pod("consumer"), handler, 8080)
    assert not passes(pod("consumer"), proxy, 3128)
    monkeypatch.setattr(sys.modules[__name__], "ADDED", [policy])
    assert passes(pod("consumer"), handler, 8080)
    assert passes(pod("consumer"), proxy, 3128)
    assert not passes(pod("consumer"), handler, 8081)
    assert not passes(pod("producer"), handler, 8080)
    assert not passes(pod("consumer"), {**handler, "namespace": OTHER}, 8080)
