"""Publishes the lines of INPUT to TOPIC_ARN with PublishBatch, in batches as large as SNS accepts, in IN_FLIGHT/10 threads."""

import os
import pathlib
import threading

import boto3
import botocore.config

BATCH_BYTES = 262_144
IN_FLIGHT = int(os.environ["IN_FLIGHT"])
LINES = [line for line in pathlib.Path(os.environ["INPUT"]).read_text().split("\n") if line]
FITTING = max(1, min(10, BATCH_BYTES // len(LINES[0])))
LOCK = threading.Lock()
TAKEN = 0


def take(size):
    global TAKEN
    with LOCK:
        batch = LINES[TAKEN : TAKEN + size]
        TAKEN += size
    return batch


def work(sns, size):
    while batch := take(size):
        entries = [{"Id": str(n), "Message": line} for n, line in enumerate(batch)]
        sns.publish_batch(TopicArn=os.environ["TOPIC_ARN"], PublishBatchRequestEntries=entries)


def main():
    sizes = [min(FITTING, IN_FLIGHT - n) for n in range(0, IN_FLIGHT, 10)]
    config = botocore.config.Config(max_pool_connections=len(sizes) + 1)
    sns = boto3.client("sns", config=config)
    threads = [threading.Thread(target=work, args=(sns, size)) for size in sizes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


main()
