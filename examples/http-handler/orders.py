"""A service that handles orders, with nothing but Python's standard library."""

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Orders(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # the consumer keeps its connections

    def do_POST(self):
        order = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if order["total"] == 0:
            return self.answer(422)  # failed: delivered again later, and then a dead letter
        # one write: print adds the end of the line by another, and requests are threads
        print(f"order {order['id']}, delivery {self.headers['receive-count']}\n", end="", flush=True)
        self.answer(204)  # handled: deleted

    def answer(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    address = os.environ.get("ADDRESS", "127.0.0.1"), int(os.environ.get("PORT", "8080"))
    ThreadingHTTPServer(address, Orders).serve_forever()
