// Drains a queue with bbc/sqs-consumer in its fastest documented form: handleMessageBatch, ten messages per receive, deletes
// in one batch, and as many consumers on one client as fit IN_FLIGHT messages.
import { openSync, writeSync } from "node:fs";
import { SQSClient } from "@aws-sdk/client-sqs";
import { Consumer } from "sqs-consumer";

const inFlight = Number(process.env.IN_FLIGHT);
const handled = process.env.HANDLED ? openSync(process.env.HANDLED, "a") : undefined;
const sqs = new SQSClient({});

const consumers = [];
for (let left = inFlight; left > 0; left -= 10) {
  const consumer = Consumer.create({
    sqs,
    queueUrl: process.env.QUEUE_URL,
    batchSize: Math.min(10, left),
    handleMessageBatch: async (messages) => {
      if (handled !== undefined) {
        const lines = messages.map(({ Body }) => `${JSON.parse(Body).Message.slice(0, 64)}\n`);
        writeSync(handled, lines.join(""));
      }
      return messages;
    },
  });
  consumer.on("error", (error) => console.error(error.message));
  consumer.start();
  consumers.push(consumer);
}

// Without `abort`, which would lose the messages of the current receive. Node exits when the polls have ended.
process.on("SIGTERM", () => consumers.forEach((consumer) => consumer.stop()));
