"""boto3, today's and 1.26 (which calls SQS by the query protocol): topics, filters, batches, FIFO, dead letters."""

import json
import os
import uuid

import boto3
import botocore
from botocore.exceptions import ClientError

# boto3 of today reads the variable by itself
ENDPOINT = os.environ["AWS_ENDPOINT_URL"]
NAME = f"boto-{uuid.uuid4().hex[:8]}"
sns, sqs = (boto3.client(service, endpoint_url=ENDPOINT) for service in ("sns", "sqs"))


def arn(url):
    got = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    return got["Attributes"]["QueueArn"]


def receive(url, **more):
    asked = {"MaxNumberOfMessages": 10, "WaitTimeSeconds": 1, "MessageAttributeNames": ["All"], "AttributeNames": ["All"]}
    return sqs.receive_message(QueueUrl=url, **{**asked, **more}).get("Messages", [])


def allow(url, topic):
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn(url),
        "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error
        return error
    raise AssertionError(f"{code} was expected")


# a topic, two subscriptions, one of them filtered
topic = sns.create_topic(Name=NAME)["TopicArn"]
every, some = (sqs.create_queue(QueueName=name)["QueueUrl"] for name in (f"{NAME}-every", f"{NAME}-some"))
for url in every, some:
    allow(url, topic)
sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn(every))
raw = {"RawMessageDelivery": "true", "FilterPolicy": json.dumps({"kind": [{"prefix": "ord"}]})}
sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn(some), Attributes=raw)
kind = {"kind": {"DataType": "String", "StringValue": "order"}, "blob": {"DataType": "Binary", "BinaryValue": b"\x00\xff"}}
sns.publish(TopicArn=topic, Message="größer <&> 🦀", MessageAttributes=kind)
entries = [{"Id": str(n), "Message": f"m{n}"} for n in range(3)]
assert len(sns.publish_batch(TopicArn=topic, PublishBatchRequestEntries=entries)["Successful"]) == 3
wrapped = [json.loads(message["Body"]) for message in receive(every)]
assert sorted(one["Message"] for one in wrapped) == ["größer <&> 🦀", "m0", "m1", "m2"], wrapped
(plain,) = receive(some)
assert plain["Body"] == "größer <&> 🦀" and plain["MessageAttributes"]["blob"]["BinaryValue"] == b"\x00\xff", plain
sqs.delete_message(QueueUrl=some, ReceiptHandle=plain["ReceiptHandle"])

# batches, with an entry that fails on its own
entries = [{"Id": "a", "MessageBody": "1"}, {"Id": "b", "MessageBody": "control \x01"}]
sent = sqs.send_message_batch(QueueUrl=some, Entries=entries)
assert [one["Id"] for one in sent["Successful"]] == ["a"] and sent["Failed"][0]["Id"] == "b", sent
(one,) = receive(some)
changed = {"Id": "x", "ReceiptHandle": one["ReceiptHandle"], "VisibilityTimeout": 0}
assert sqs.change_message_visibility_batch(QueueUrl=some, Entries=[changed])["Successful"]
(one,) = receive(some)
assert one["Attributes"]["ApproximateReceiveCount"] == "2", one
assert sqs.delete_message_batch(QueueUrl=some, Entries=[{"Id": "x", "ReceiptHandle": one["ReceiptHandle"]}])["Successful"]

# FIFO: a batch of one group, a duplicate, and the group that waits
fifo = sqs.create_queue(QueueName=f"{NAME}.fifo", Attributes={"FifoQueue": "true", "ContentBasedDeduplication": "true"})[
    "QueueUrl"
]
for body in "one", "two", "one":
    sqs.send_message(QueueUrl=fifo, MessageBody=body, MessageGroupId="g")
first, second = receive(fifo)
assert (first["Body"], second["Body"]) == ("one", "two")
sqs.send_message(QueueUrl=fifo, MessageBody="three", MessageGroupId="g")
assert not receive(fifo, WaitTimeSeconds=0)

# dead letters, and back
letters = sqs.create_queue(QueueName=f"{NAME}-letters")["QueueUrl"]
redrive = json.dumps({"deadLetterTargetArn": arn(letters), "maxReceiveCount": "1"})
work = sqs.create_queue(QueueName=f"{NAME}-work", Attributes={"RedrivePolicy": redrive, "VisibilityTimeout": "0"})["QueueUrl"]
sqs.send_message(QueueUrl=work, MessageBody="poison")
assert receive(work) and not receive(work, WaitTimeSeconds=0)
assert sqs.list_dead_letter_source_queues(QueueUrl=letters)["queueUrls"] == [work]
if hasattr(sqs, "start_message_move_task"):
    sqs.start_message_move_task(SourceArn=arn(letters))
    assert receive(work, WaitTimeSeconds=5)[0]["Body"] == "poison"

# what AWS refuses
refused("AWS.SimpleQueueService.NonExistentQueue", sqs.get_queue_url, QueueName="none")
try:
    sqs.get_queue_url(QueueName="none")
except sqs.exceptions.QueueDoesNotExist:
    pass
refused("NotFound", sns.publish, TopicArn=topic + "x", Message="m")

print(f"boto3 {boto3.__version__}, botocore {botocore.__version__}, SQS by {sqs.meta.service_model.metadata['protocol']}")
