// What a message looks like behind Express, one JSON line a request; how to respond is in the header attribute-respond: respond.py.
const express = require("express");
const { appendFileSync } = require("node:fs");

const [, , port, record, name] = process.argv;
const app = express();
const seen = new Map();

// as in the first example of every tutorial: what says that it is JSON is parsed, or refused
app.use(express.json());
app.use(express.text({ type: "*/*" }));
app.post("/orders", (request, response) => {
  const body = typeof request.body === "string" ? request.body : JSON.stringify(request.body);
  appendFileSync(record, JSON.stringify({ server: name, at: Date.now() / 1000, headers: request.headers, body }) + "\n");
  const id = request.get("message-id");
  seen.set(id, (seen.get(id) ?? 0) + 1);
  const [status, after] = (request.get("attribute-respond") ?? "204").split(" ");
  if (status === "204" || seen.get(id) > 1) return response.sendStatus(204);
  if (after) response.set("retry-after", after.startsWith("+") ? new Date(Date.now() + 1000 * after).toUTCString() : after);
  response.sendStatus(Number(status));
});
const server = app.listen(Number(port), "127.0.0.1");
server.keepAliveTimeout = 1000;
