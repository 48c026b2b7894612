// Publishes the lines of INPUT to TOPIC_ARN with PublishBatch, in batches as large as SNS accepts, IN_FLIGHT/10 at a time.
import { readFileSync } from "node:fs";
import { PublishBatchCommand, SNSClient } from "@aws-sdk/client-sns";

const BATCH_BYTES = 262144;
const inFlight = Number(process.env.IN_FLIGHT);
const lines = readFileSync(process.env.INPUT, "utf8").split("\n").filter((line) => line !== "");
const fitting = Math.min(10, Math.max(1, Math.floor(BATCH_BYTES / lines[0].length)));
const sns = new SNSClient({});
let next = 0;

async function publish(size) {
  while (next < lines.length) {
    const batch = lines.slice(next, next + size);
    next += size;
    await sns.send(
      new PublishBatchCommand({
        TopicArn: process.env.TOPIC_ARN,
        PublishBatchRequestEntries: batch.map((Message, n) => ({ Id: String(n), Message })),
      }),
    );
  }
}

const loops = [];
for (let left = inFlight; left > 0; left -= 10) {
  loops.push(publish(Math.min(fitting, left)));
}
await Promise.all(loops);
