"""What Terraform's AWS provider does with aws_sqs_queue, aws_sqs_queue_policy, aws_sns_topic and aws_sns_topic_subscription,
by boto3: create, wait until what is read equals what was set, update, plan again without a change, destroy.

After internal/service/sqs and sns of hashicorp/terraform-provider-aws: attributes travel as texts, all of them are read
back, and a difference is a change that the next plan shows forever.
"""

import json
import uuid

import boto3

sns, sqs = boto3.client("sns"), boto3.client("sqs")
PREFIX = f"tf-{uuid.uuid4().hex[:8]}"
#: How the provider compares: JSON by its meaning, everything else as text.
AS_JSON = {"Policy", "RedrivePolicy", "RedriveAllowPolicy", "FilterPolicy", "DeliveryPolicy"}


def same(name, one, other):
    if name in AS_JSON and one and other:
        return json.loads(one) == json.loads(other)
    return one == other


def differences(wanted, read):
    return {name: (value, read.get(name)) for name, value in wanted.items() if not same(name, value, read.get(name))}


def read_queue(url):
    return sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]


def queue(name, wanted, tags):
    """aws_sqs_queue, created: its attributes and tags in the one call, then read until they are there."""
    url = sqs.create_queue(QueueName=name, Attributes=wanted, tags=tags)["QueueUrl"]
    assert not differences(wanted, read_queue(url)), (name, differences(wanted, read_queue(url)))
    assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == tags
    # an apply that was broken off is run again
    assert sqs.create_queue(QueueName=name, Attributes=wanted, tags=tags)["QueueUrl"] == url
    return url


def update(url, wanted):
    sqs.set_queue_attributes(QueueUrl=url, Attributes=wanted)
    read = read_queue(url)
    left = {name: pair for name, pair in differences(wanted, read).items() if wanted[name] != "" or pair[1]}
    assert not left, left


letters = queue(f"{PREFIX}-letters", {"MessageRetentionPeriod": "1209600"}, {"managed": "true"})
letters_arn = read_queue(letters)["QueueArn"]
everything = {
    "DelaySeconds": "5",
    "KmsDataKeyReusePeriodSeconds": "600",
    "KmsMasterKeyId": "alias/aws/sqs",
    "MaximumMessageSize": "2048",
    "MessageRetentionPeriod": "86400",
    "ReceiveMessageWaitTimeSeconds": "10",
    "RedrivePolicy": json.dumps({"deadLetterTargetArn": letters_arn, "maxReceiveCount": 4}),
    "VisibilityTimeout": "120",
}
orders = queue(f"{PREFIX}-orders", everything, {"team": "orders", "empty": ""})
orders_arn = read_queue(orders)["QueueArn"]

# every attribute changes; an empty text takes one back, as the provider does
update(
    orders,
    {"DelaySeconds": "0", "VisibilityTimeout": "30", "MaximumMessageSize": "1048576", "ReceiveMessageWaitTimeSeconds": "0"},
)
update(orders, {"KmsMasterKeyId": "", "SqsManagedSseEnabled": "true"})
update(orders, {"SqsManagedSseEnabled": "false"})
update(orders, {"RedrivePolicy": json.dumps({"deadLetterTargetArn": letters_arn, "maxReceiveCount": 9})})
allow = json.dumps({"redrivePermission": "byQueue", "sourceQueueArns": [orders_arn]})
update(letters, {"RedriveAllowPolicy": allow})
sqs.untag_queue(QueueUrl=orders, TagKeys=["empty"])
sqs.tag_queue(QueueUrl=orders, Tags={"team": "shipping"})
assert sqs.list_queue_tags(QueueUrl=orders)["Tags"] == {"team": "shipping"}

# FIFO, with what only a FIFO queue has
high = {
    "FifoQueue": "true",
    "ContentBasedDeduplication": "true",
    "DeduplicationScope": "messageGroup",
    "FifoThroughputLimit": "perMessageGroupId",
}
fifo = queue(f"{PREFIX}.fifo", high, {"kind": "fifo"})
update(fifo, {"ContentBasedDeduplication": "false", "FifoThroughputLimit": "perQueue", "DeduplicationScope": "queue"})

# aws_sns_topic: created with its name alone, then one attribute a call
topic = sns.create_topic(Name=f"{PREFIX}-events", Tags=[{"Key": "team", "Value": "orders"}])["TopicArn"]
delivery = {
    "http": {
        "defaultHealthyRetryPolicy": {
            "minDelayTarget": 20,
            "maxDelayTarget": 20,
            "numRetries": 3,
            "numMaxDelayRetries": 0,
            "numNoDelayRetries": 0,
            "numMinDelayRetries": 0,
            "backoffFunction": "linear",
        },
        "disableSubscriptionOverrides": False,
    }
}
statement = {"Sid": "publish", "Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "SNS:Publish", "Resource": topic}
set_on_topic = {
    "DisplayName": "Events",
    "DeliveryPolicy": json.dumps(delivery),
    "Policy": json.dumps({"Version": "2012-10-17", "Id": "p", "Statement": [statement]}),
    "TracingConfig": "Active",
    "SignatureVersion": "2",
    "KmsMasterKeyId": "alias/aws/sns",
}
for name, value in set_on_topic.items():
    sns.set_topic_attributes(TopicArn=topic, AttributeName=name, AttributeValue=value)
read = sns.get_topic_attributes(TopicArn=topic)["Attributes"]
assert not differences(set_on_topic, read), differences(set_on_topic, read)
assert sns.list_tags_for_resource(ResourceArn=topic)["Tags"] == [{"Key": "team", "Value": "orders"}]

# aws_sqs_queue_policy, read back as it was written, and aws_sns_topic_subscription
statement = {
    "Sid": "events",
    "Effect": "Allow",
    "Principal": {"Service": "sns.amazonaws.com"},
    "Action": "sqs:SendMessage",
    "Resource": orders_arn,
    "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
}
update(orders, {"Policy": json.dumps({"Version": "2012-10-17", "Statement": [statement]})})
wanted = {
    "RawMessageDelivery": "true",
    "FilterPolicy": json.dumps({"kind": ["order"]}),
    "FilterPolicyScope": "MessageBody",
    "RedrivePolicy": json.dumps({"deadLetterTargetArn": letters_arn}),
}
subscription = sns.subscribe(
    TopicArn=topic, Protocol="sqs", Endpoint=orders_arn, Attributes=wanted, ReturnSubscriptionArn=True
)["SubscriptionArn"]
read = sns.get_subscription_attributes(SubscriptionArn=subscription)["Attributes"]
assert not differences(wanted, read) and read["PendingConfirmation"] == "false", (differences(wanted, read), read)
sns.set_subscription_attributes(SubscriptionArn=subscription, AttributeName="FilterPolicy", AttributeValue="{}")
sns.set_subscription_attributes(SubscriptionArn=subscription, AttributeName="RawMessageDelivery", AttributeValue="false")
read = sns.get_subscription_attributes(SubscriptionArn=subscription)["Attributes"]
assert read["RawMessageDelivery"] == "false" and read.get("FilterPolicy", "{}") == "{}", read

# destroyed, and gone for whoever reads it
sns.unsubscribe(SubscriptionArn=subscription)
sns.delete_topic(TopicArn=topic)
for url in orders, letters, fifo:
    sqs.delete_queue(QueueUrl=url)
for gone, call in (
    (sqs.exceptions.QueueDoesNotExist, lambda: read_queue(orders)),
    (sns.exceptions.NotFoundException, lambda: sns.get_topic_attributes(TopicArn=topic)),
):
    try:
        call()
    except gone:
        continue
    raise AssertionError("it is still there")
print(f"what Terraform's AWS provider does, by boto3 {boto3.__version__}")
