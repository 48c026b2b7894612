"""A boto3 loop: receive ten, delete them, in IN_FLIGHT/10 threads on one client.

`drain.py single` deletes one by one, as most code does; `drain.py batch` deletes with one call per receive.
"""

import json
import os
import signal
import sys
import threading

import boto3
import botocore.config

URL = os.environ["QUEUE_URL"]
IN_FLIGHT = int(os.environ["IN_FLIGHT"])
BATCH = sys.argv[1] == "batch"
HANDLED = os.open(os.environ["HANDLED"], os.O_WRONLY | os.O_APPEND) if "HANDLED" in os.environ else None
STOP = threading.Event()


def work(sqs, size):
    while not STOP.is_set():
        got = sqs.receive_message(QueueUrl=URL, MaxNumberOfMessages=size, WaitTimeSeconds=20)
        messages = got.get("Messages", [])
        if HANDLED is not None:
            for message in messages:
                os.write(HANDLED, json.loads(message["Body"])["Message"][:64].encode() + b"\n")
        if BATCH and messages:
            entries = [{"Id": str(n), "ReceiptHandle": m["ReceiptHandle"]} for n, m in enumerate(messages)]
            sqs.delete_message_batch(QueueUrl=URL, Entries=entries)
        elif not BATCH:
            for message in messages:
                sqs.delete_message(QueueUrl=URL, ReceiptHandle=message["ReceiptHandle"])


def main():
    sizes = [min(10, IN_FLIGHT - n) for n in range(0, IN_FLIGHT, 10)]
    config = botocore.config.Config(max_pool_connections=len(sizes) + 1)
    sqs = boto3.client("sqs", config=config)
    signal.signal(signal.SIGTERM, lambda *_: STOP.set())
    threads = [threading.Thread(target=work, args=(sqs, size)) for size in sizes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


main()
