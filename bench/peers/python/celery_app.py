"""A Celery worker on the same queue, with a task that does nothing.

Celery reads only its own messages. The queue contains tasks made by `celery_lines.py`, delivered raw, whose argument has the
size of a body.
"""

import os
import urllib.parse

import celery

QUEUE = "tasks"
URL = os.environ.get("QUEUE_URL", "http://127.0.0.1:1/queue")
HANDLED = os.open(os.environ["HANDLED"], os.O_WRONLY | os.O_APPEND) if "HANDLED" in os.environ else None
IN_FLIGHT = int(os.environ.get("IN_FLIGHT", "1"))
PROCESSES = min(IN_FLIGHT, os.cpu_count() or 1)
ENDPOINT = urllib.parse.urlsplit(os.environ.get("AWS_ENDPOINT_URL", "http://127.0.0.1:1"))

app = celery.Celery("celery_app", broker=f"sqs://{ENDPOINT.netloc}//")
app.conf.update(
    broker_transport_options={
        "is_secure": ENDPOINT.scheme == "https",
        "region": "us-east-1",
        "wait_time_seconds": 20,
        "polling_interval": 0,
        "predefined_queues": {QUEUE: {"url": URL}},
    },
    broker_connection_retry_on_startup=True,
    task_default_queue=QUEUE,
    task_ignore_result=True,
    worker_enable_remote_control=False,
    worker_hijack_root_logger=False,
    # One process per core; messages in flight are prefetched.
    worker_concurrency=PROCESSES,
    worker_prefetch_multiplier=IN_FLIGHT // PROCESSES,
    # Delete after the task, as all contenders do.
    task_acks_late=True,
)


@app.task(name="handle", ignore_result=True)
def handle(body):
    if HANDLED is not None:
        os.write(HANDLED, body[:64].encode() + b"\n")
