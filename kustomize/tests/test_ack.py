"""What the component ack has the ACK controllers make."""

import json
import re

import pytest
import rendering
import yaml

ARNS = {
    "topicArn": "arn:aws-cn:sns:cn-north-1:999900001111:orders",
    "queueArn": "arn:aws-cn:sqs:cn-north-1:999900001111:orders-consumer",
    "deadLetterQueueArn": "arn:aws-cn:sqs:cn-north-1:999900001111:orders-consumer-dead",
}

# The fields of `spec` in the controllers' definitions (sqs-controller 1.6.1, sns-controller 1.6.0) that take a string.
# test_definitions.py reads the definitions themselves where they are at hand.
STRINGS = {
    "Queue": "queueName messageRetentionPeriod visibilityTimeout redrivePolicy policy delaySeconds kmsMasterKeyID",
    "Topic": "name displayName policy deliveryPolicy fifoTopic kmsMasterKeyID",
    "Subscription": "endpoint protocol rawMessageDelivery filterPolicy filterPolicyScope redrivePolicy topicARN",
}


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ack")
    return render(folder, {"region": "cn-north-1", **ARNS})


def render(folder, values):
    rendering.write(folder, {
        "resources": ["values.yaml"],
        "components": [rendering.relative("components/ack", folder)],
    }, values={**rendering.VALUES, "data": values})
    return rendering.parse(rendering.text_of(folder))


def test_the_names_in_the_overlay_are_those_that_the_services_use():
    objects = rendering.combination(["ack", "aws-resources"])
    topic, queue = (objects.one(kind, name)["spec"] for kind, name in (("Topic", "events"), ("Queue", "events-consumer")))
    assert objects.settings("producer")["TOPIC_ARN"].endswith(f":{topic['name']}")
    assert objects.settings("consumer")["QUEUE_URL"].endswith(f"/{queue['queueName']}")


def named(objects, kind, name):
    return objects.one(kind, name)["spec"]


def test_there_are_two_queues_a_topic_and_a_subscription(objects):
    assert sorted((item["kind"], item["metadata"]["name"]) for item in objects) == [
        ("Queue", "dead-letters"),
        ("Queue", "events-consumer"),
        ("Subscription", "events-consumer"),
        ("Topic", "events"),
    ]


def test_names_are_those_of_the_arns(objects):
    assert named(objects, "Topic", "events")["name"] == "orders"
    assert named(objects, "Queue", "events-consumer")["queueName"] == "orders-consumer"
    assert named(objects, "Queue", "dead-letters")["queueName"] == "orders-consumer-dead"
    for item in objects:
        assert item["metadata"]["annotations"]["services.k8s.aws/region"] == "cn-north-1"


def test_the_policy_lets_this_topic_send_to_this_queue_and_nobody_else(objects):
    policy = json.loads(named(objects, "Queue", "events-consumer")["policy"])
    assert policy == {
        "Version": "2012-10-17",
        "Statement": [{
            "Sid": "lifeline",
            "Effect": "Allow",
            "Principal": {"Service": "sns.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": ARNS["queueArn"],
            "Condition": {"ArnEquals": {"aws:SourceArn": ARNS["topicArn"]}},
        }],
    }


def test_what_fails_reaches_the_dead_letters_which_keep_it_longer(objects):
    queue = named(objects, "Queue", "events-consumer")
    redrive = json.loads(queue["redrivePolicy"])
    assert redrive == {"deadLetterTargetArn": ARNS["deadLetterQueueArn"], "maxReceiveCount": 5}
    dead = named(objects, "Queue", "dead-letters")
    assert int(dead["messageRetentionPeriod"]) > int(queue["messageRetentionPeriod"])


def test_the_subscription_joins_the_two(objects):
    subscription = named(objects, "Subscription", "events-consumer")
    assert subscription["topicRef"]["from"]["name"] in objects.names("Topic")
    assert (subscription["protocol"], subscription["endpoint"]) == ("sqs", ARNS["queueArn"])


def test_the_dead_letters_are_made_first_in_whatever_order_they_are_read(objects):
    # SQS refuses a redrive policy that names no queue, and for the controller that is final.
    queues = [item["metadata"]["name"] for item in objects.of("Queue")]
    assert queues == sorted(queues) == ["dead-letters", "events-consumer"]


def test_nothing_on_aws_goes_with_its_description(objects):
    for item in objects:
        assert item["metadata"]["annotations"]["services.k8s.aws/deletion-policy"] == "retain"


def test_every_field_is_one_that_the_controllers_know(objects):
    for item in objects:
        for field, value in item["spec"].items():
            if isinstance(value, str):
                assert field in STRINGS[item["kind"]].split(), f"{item['kind']}.spec.{field}"
            else:
                assert field in {"tags", "topicRef"}, f"{item['kind']}.spec.{field}"


def test_a_value_that_is_missing_is_an_error_and_no_placeholder_is_left(objects, tmp_path):
    assert not re.search(r"set from|Arn\"(?!:)", yaml.safe_dump(list(objects)))
    for missing in ARNS:
        folder = tmp_path / missing
        folder.mkdir()
        with pytest.raises(AssertionError, match=missing):
            render(folder, {"region": "eu-west-1", **{key: arn for key, arn in ARNS.items() if key != missing}})
