// AWS SDK for JavaScript v3 with sqs-producer and sqs-consumer: batches, heartbeats, a dead letter, FIFO, exceptions by type.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { SNSClient, CreateTopicCommand, PublishCommand, SubscribeCommand } from "@aws-sdk/client-sns";
import * as queues from "@aws-sdk/client-sqs";
import { Consumer } from "sqs-consumer";
import { Producer } from "sqs-producer";

const name = `js-${process.pid}-${Date.now()}`;
const sns = new SNSClient();
const sqs = new queues.SQSClient();
const ask = (command, input) => sqs.send(new queues[`${command}Command`](input));
const create = async (QueueName, Attributes) => (await ask("CreateQueue", { QueueName, Attributes })).QueueUrl;
const arnOf = async (QueueUrl) =>
  (await ask("GetQueueAttributes", { QueueUrl, AttributeNames: ["QueueArn"] })).Attributes.QueueArn;
const left = async (QueueUrl) => {
  const names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"];
  const { Attributes } = await ask("GetQueueAttributes", { QueueUrl, AttributeNames: names });
  return names.reduce((sum, name) => sum + Number(Attributes[name]), 0);
};

/** Consumes until `done` of what was handled holds; what the consumer reports as an error is one. */
async function consume(options, done) {
  const handled = [];
  const problems = [];
  const consumer = Consumer.create({
    sqs,
    waitTimeSeconds: 1,
    handleMessage: async (message) => {
      handled.push(message);
      await options.handle?.(message, handled);
      return message;
    },
    ...options,
  });
  consumer.on("error", (error) => problems.push(error));
  const until = Date.now() + 30_000;
  consumer.start();
  while (!(await done(handled))) {
    assert(Date.now() < until, `not done: ${handled.length} handled, ${problems}`);
    await new Promise((wake) => setTimeout(wake, 50));
  }
  const stopped = new Promise((end) => consumer.on("stopped", end));
  consumer.stop();
  await stopped;
  assert.deepEqual(problems, []);
  return handled;
}

// produced in batches, consumed in batches
const url = await create(name);
const producer = Producer.create({ queueUrl: url, sqs });
await producer.send(Array.from({ length: 25 }, (_, n) => ({ id: `${n}`, body: `m${n}` })));
const plain = await consume({ queueUrl: url, batchSize: 10 }, async (all) => all.length === 25 && !(await left(url)));
assert.equal(new Set(plain.map((message) => message.Body)).size, 25);

// a handler that takes longer than the visibility timeout, kept by heartbeats (not a whole second: sqs-consumer may send one
// after its delete)
const slow = await create(`${name}-slow`, { VisibilityTimeout: "2" });
await ask("SendMessage", { QueueUrl: slow, MessageBody: "slow" });
const pause = () => new Promise((wake) => setTimeout(wake, 3500));
const kept = await consume(
  { queueUrl: slow, visibilityTimeout: 2, heartbeatInterval: 1, handle: pause },
  async (all) => all.length > 0 && !(await left(slow)),
);
assert.equal(kept.length, 1, "the lease was lost");

// a poison message becomes a dead letter
const letters = await create(`${name}-letters`);
const redrive = JSON.stringify({ deadLetterTargetArn: await arnOf(letters), maxReceiveCount: 2 });
const work = await create(`${name}-work`, { RedrivePolicy: redrive, VisibilityTimeout: "1" });
await ask("SendMessage", { QueueUrl: work, MessageBody: "poison" });
let failures = 0;
const failing = Consumer.create({
  sqs,
  queueUrl: work,
  waitTimeSeconds: 1,
  terminateVisibilityTimeout: true,
  handleMessage: async () => {
    failures += 1;
    throw new Error("poison");
  },
});
failing.on("processing_error", () => {});
failing.on("error", (error) => assert.fail(error));
failing.start();
const dead = await ask("ReceiveMessage", { QueueUrl: letters, WaitTimeSeconds: 15, AttributeNames: ["All"] });
failing.stop();
assert.equal(dead.Messages[0].Body, "poison");
assert.equal(failures, 2);

// a topic, with binary attributes through raw delivery
const { TopicArn } = await sns.send(new CreateTopicCommand({ Name: name }));
const heard = await create(`${name}-heard`);
const policy = {
  Statement: [
    {
      Effect: "Allow",
      Principal: "*",
      Action: "sqs:SendMessage",
      Resource: await arnOf(heard),
      Condition: { ArnEquals: { "aws:SourceArn": TopicArn } },
    },
  ],
};
await ask("SetQueueAttributes", { QueueUrl: heard, Attributes: { Policy: JSON.stringify(policy) } });
await sns.send(
  new SubscribeCommand({ TopicArn, Protocol: "sqs", Endpoint: await arnOf(heard), Attributes: { RawMessageDelivery: "true" } }),
);
const blob = { DataType: "Binary", BinaryValue: new Uint8Array([0, 255, 128]) };
await sns.send(new PublishCommand({ TopicArn, Message: "heard", MessageAttributes: { blob } }));
const [binary] = await consume({ queueUrl: heard, messageAttributeNames: ["All"] }, (all) => all.length === 1);
assert.deepEqual([...binary.MessageAttributes.blob.BinaryValue], [0, 255, 128]);

// FIFO: order within a group, ten at a time
const fifo = await create(`${name}.fifo`, { FifoQueue: "true", ContentBasedDeduplication: "true" });
for (let n = 0; n < 12; n += 1) await ask("SendMessage", { QueueUrl: fifo, MessageBody: `${n}`, MessageGroupId: "g" });
const ordered = await consume(
  { queueUrl: fifo, batchSize: 10, suppressFifoWarning: true },
  async (all) => all.length === 12 && !(await left(fifo)),
);
assert.deepEqual(
  ordered.map((message) => Number(message.Body)),
  [...Array(12).keys()],
);

// exceptions by type
await assert.rejects(ask("GetQueueUrl", { QueueName: "none" }), queues.QueueDoesNotExist);
await assert.rejects(ask("DeleteMessage", { QueueUrl: url, ReceiptHandle: "x" }), queues.ReceiptHandleIsInvalid);
await assert.rejects(ask("CreateQueue", { QueueName: name, Attributes: { DelaySeconds: "9" } }), queues.QueueNameExists);

const version = (name) => createRequire(import.meta.url)(`${name}/package.json`).version;
console.log(`AWS SDK for JavaScript ${version("@aws-sdk/client-sqs")} with sqs-consumer and sqs-producer`);
process.exit(0);
