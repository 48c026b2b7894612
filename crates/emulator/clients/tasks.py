"""Celery over SQS: fifty tasks, some retried, one with a countdown, by a worker of its own."""

import os
import subprocess
import sys
import time
from urllib.parse import urlparse

import celery
import kombu

endpoint = urlparse(os.environ["AWS_ENDPOINT_URL"])
app = celery.Celery("tasks", broker=f"sqs://test:test@{endpoint.hostname}:{endpoint.port}")
app.conf.update(
    broker_transport_options={"is_secure": False, "region": "us-east-1", "polling_interval": 0.1, "wait_time_seconds": 1},
    task_default_queue=os.environ.get("CELERY_QUEUE", f"celery-{os.getpid()}"),
    task_acks_late=True,
    worker_hijack_root_logger=False,
)
DONE = os.environ.get("CELERY_DONE", "")


@app.task(bind=True, max_retries=3, default_retry_delay=0)
def handle(self, number):
    if number % 10 == 3 and self.request.retries < 2:
        raise self.retry(exc=ValueError(number), countdown=0)
    with open(DONE, "a", encoding="utf-8") as done:
        done.write(f"{number}\n")


if __name__ == "__main__":
    DONE = sys.argv[1]
    for number in range(49):
        handle.delay(number)
    handle.apply_async((49,), countdown=1)
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "tasks",
        "worker",
        "--pool=solo",
        "--loglevel=warning",
        "--without-gossip",
        "--without-mingle",
    ]
    environment = {**os.environ, "CELERY_DONE": DONE, "CELERY_QUEUE": app.conf.task_default_queue}
    folder = os.path.dirname(os.path.abspath(__file__))
    worker = subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        lines = []
        while len(lines) < 50:
            assert time.monotonic() < deadline and worker.poll() is None, f"{len(lines)} of 50 tasks, worker {worker.poll()}"
            time.sleep(0.1)
            if os.path.exists(DONE):
                with open(DONE, encoding="utf-8") as done:
                    lines = done.read().split()
        assert sorted(map(int, lines)) == list(range(50)), lines
    finally:
        worker.terminate()
        worker.wait()
    print(f"celery {celery.__version__}, kombu {kombu.__version__}")
