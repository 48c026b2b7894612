#!/usr/bin/env bash
# awscli, v1 or v2, step by step: cli.sh AWS, where AWS is the program.
# v1 knows an old address of SQS by itself, so the endpoint is given to each call.
set -euo pipefail

cli() {
  "$program" --endpoint-url "$AWS_ENDPOINT_URL" --output text "$@"
}

# is WHAT EXPECTED: the text on standard input
is() {
  local got
  got=$(cat)
  [ "$got" = "$2" ] || {
    echo "$1: expected $2, got $got" >&2
    exit 1
  }
}

program=$1
name=cli-$RANDOM$RANDOM

letters=$(cli sqs create-queue --queue-name "$name-letters" --query QueueUrl)
letters_arn=$(cli sqs get-queue-attributes --queue-url "$letters" --attribute-names QueueArn --query Attributes.QueueArn)
# as in the CLI's own documentation: the count is a text
attributes=$(printf '{"RedrivePolicy": "{\\"deadLetterTargetArn\\":\\"%s\\",\\"maxReceiveCount\\":\\"2\\"}", "VisibilityTimeout": "60"}' "$letters_arn")
queue=$(cli sqs create-queue --queue-name "$name" --attributes "$attributes" --tags team=orders --query QueueUrl)
cli sqs list-queue-tags --queue-url "$queue" --query Tags.team | is tags orders
cli sqs list-dead-letter-source-queues --queue-url "$letters" --query 'queueUrls[0]' | is sources "$queue"
cli sqs list-queues --queue-name-prefix "$name" --query 'length(QueueUrls)' | is queues 2

cli sqs send-message --queue-url "$queue" --message-body 'größer <&>' \
  --message-attributes '{"kind":{"DataType":"String","StringValue":"order"}}' >/dev/null
receipt=$(cli sqs receive-message --queue-url "$queue" --message-attribute-names All --wait-time-seconds 2 \
  --query "Messages[?Body=='größer <&>' && MessageAttributes.kind.StringValue=='order'].ReceiptHandle")
cli sqs change-message-visibility --queue-url "$queue" --receipt-handle "$receipt" --visibility-timeout 90
cli sqs get-queue-attributes --queue-url "$queue" --attribute-names All \
  --query Attributes.ApproximateNumberOfMessagesNotVisible | is 'in flight' 1
cli sqs delete-message --queue-url "$queue" --receipt-handle "$receipt"
cli sqs send-message-batch --queue-url "$queue" --entries Id=a,MessageBody=1 Id=b,MessageBody=2 \
  --query 'length(Successful)' | is batch 2
cli sqs purge-queue --queue-url "$queue"
cli sqs receive-message --queue-url "$queue" --query Messages | is purged None

topic=$(cli sns create-topic --name "$name" --tags Key=team,Value=orders --query TopicArn)
arn=$(cli sqs get-queue-attributes --queue-url "$queue" --attribute-names QueueArn --query Attributes.QueueArn)
policy=$(printf '{"Policy": "{\\"Statement\\":[{\\"Effect\\":\\"Allow\\",\\"Principal\\":{\\"Service\\":\\"sns.amazonaws.com\\"},\\"Action\\":\\"sqs:SendMessage\\",\\"Resource\\":\\"%s\\",\\"Condition\\":{\\"ArnEquals\\":{\\"aws:SourceArn\\":\\"%s\\"}}}]}"}' "$arn" "$topic")
cli sqs set-queue-attributes --queue-url "$queue" --attributes "$policy"
subscription=$(cli sns subscribe --topic-arn "$topic" --protocol sqs --notification-endpoint "$arn" \
  --attributes RawMessageDelivery=true --return-subscription-arn --query SubscriptionArn)
cli sns set-subscription-attributes --subscription-arn "$subscription" --attribute-name FilterPolicyScope --attribute-value MessageBody
cli sns set-subscription-attributes --subscription-arn "$subscription" --attribute-name FilterPolicy \
  --attribute-value '{"id": [{"numeric": [">", 5]}]}'
cli sns publish --topic-arn "$topic" --message '{"id": 3}' >/dev/null
cli sns publish --topic-arn "$topic" --message '{"id": 7}' >/dev/null
cli sqs receive-message --queue-url "$queue" --max-number-of-messages 10 --wait-time-seconds 2 \
  --query 'Messages[].Body' | is delivered '{"id": 7}'
if cli sqs get-queue-url --queue-name "$name-none" 2>/dev/null; then
  echo "a queue that does not exist was found" >&2
  exit 1
fi
cli sns unsubscribe --subscription-arn "$subscription"
cli sns delete-topic --topic-arn "$topic"
cli sqs delete-queue --queue-url "$queue"
cli sqs delete-queue --queue-url "$letters"
"$program" --version | cut -d ' ' -f 1
