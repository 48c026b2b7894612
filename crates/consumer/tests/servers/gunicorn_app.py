"""What a message looks like behind gunicorn and Flask, one JSON line a request; how to respond is in the header attribute-respond."""

import email.utils
import json
import os
import time

from flask import Flask, Response, request

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 100 * 1024
seen = {}


@app.post("/orders")
def orders():
    body = json.dumps(request.get_json(), separators=(",", ":")) if request.is_json else request.get_data(as_text=True)
    headers = {name.lower(): value for name, value in request.headers}
    with open(os.environ["RECORD"], "a") as record:
        record.write(json.dumps({"server": "gunicorn", "at": time.time(), "headers": headers, "body": body}) + "\n")
    message = request.headers["message-id"]
    seen[message] = seen.get(message, 0) + 1
    status, _, after = request.headers.get("attribute-respond", "204").partition(" ")
    if status == "204" or seen[message] > 1:
        return Response(status=204)
    if after.startswith("+"):
        after = email.utils.formatdate(time.time() + int(after), usegmt=True)
    return Response(status=int(status), headers={"retry-after": after} if after else {})
