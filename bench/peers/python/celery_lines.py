"""`celery_lines.py INPUT OUTPUT`: writes each line of INPUT as the message that Celery sends for `handle(line)`."""

import base64
import json
import pathlib
import sys
import uuid

import kombu.serialization

from celery_app import QUEUE, app


def message(line):
    task_id = str(uuid.uuid4())
    task = app.amqp.create_task_message(task_id, "handle", args=(line,))
    content_type, encoding, body = kombu.serialization.dumps(task.body, serializer="json")
    envelope = {
        "body": base64.b64encode(body.encode()).decode(),
        "content-encoding": encoding,
        "content-type": content_type,
        "headers": task.headers,
        "properties": {
            **task.properties,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": QUEUE},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(uuid.uuid4()),
        },
    }
    return base64.b64encode(json.dumps(envelope).encode()).decode()


source, target = map(pathlib.Path, sys.argv[1:])
with source.open() as lines, target.open("w") as out:
    for line in lines:
        out.write(message(line.rstrip("\n")) + "\n")
