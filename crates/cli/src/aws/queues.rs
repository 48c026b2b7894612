//! SQS' half: rustack's queues, with the operations in between that need more than it gives.
//!
//! Most operations go straight through. In between are those that name a queue by URL (the client gets the host it
//! called), receives (oversize bodies come back, see [`OVERSIZE`]), deletes (what is gone makes room in the
//! [`Backlog`]), queue attributes beyond rustack's range, and moving dead letters back, which rustack has not.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::BodyExt;
use rustack_sqs_core::{handler::RustackSqsHandler, message::md5_of_body, provider::RustackSqs};
use rustack_sqs_http::{dispatch::SqsHandler, response::CONTENT_TYPE, router::resolve_operation};
use rustack_sqs_model::{
    error::{SqsError, SqsErrorCode},
    input::{
        CreateQueueInput, DeleteMessageBatchInput, DeleteMessageInput, ListMessageMoveTasksInput,
        ReceiveMessageInput, SendMessageInput, SetQueueAttributesInput, StartMessageMoveTaskInput,
    },
    operations::SqsOperation,
    output::{
        DeleteMessageBatchOutput, ListMessageMoveTasksOutput, ReceiveMessageOutput,
        StartMessageMoveTaskOutput,
    },
    types::{BatchResultErrorEntry, ListMessageMoveTasksResultEntry},
};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    INNER_HOST,
    backlog::{Backlog, message_of},
    delivery::OVERSIZE,
    gateway::{Body, respond},
};

/// rustack's largest `MaximumMessageSize`; AWS' is 1 MiB, and asking for that must not fail here.
const LARGEST_MESSAGE: u32 = 262_144;
/// Move tasks that are remembered for `ListMessageMoveTasks`, as on AWS.
const REMEMBERED_MOVES: usize = 10;

#[derive(Debug)]
pub(crate) struct Queues {
    sqs: Arc<RustackSqs>,
    handler: RustackSqsHandler,
    backlog: Arc<Backlog>,
    moves: Mutex<Vec<ListMessageMoveTasksResultEntry>>,
}

impl Queues {
    pub(crate) fn new(sqs: Arc<RustackSqs>, backlog: Arc<Backlog>) -> Self {
        Self { handler: RustackSqsHandler::new(Arc::clone(&sqs)), sqs, backlog, moves: Mutex::default() }
    }

    /// Answers one request that was sent to `host`.
    pub(crate) async fn answer(&self, headers: &HeaderMap, host: &str, body: Bytes) -> Response<Body> {
        let answered = match resolve_operation(headers) {
            Ok(operation) => self.perform(operation, host, body).await,
            Err(error) => Err(error),
        };
        let mut response = answered.unwrap_or_else(|error| refusal(&error));
        let id = request_id();
        if let Ok(id) = HeaderValue::from_str(&id) {
            response.headers_mut().insert("x-amzn-requestid", id);
        }
        response
    }

    async fn perform(
        &self,
        operation: SqsOperation,
        host: &str,
        body: Bytes,
    ) -> Result<Response<Body>, SqsError> {
        match operation {
            SqsOperation::ReceiveMessage => written(&self.receive(parse(&body)?).await?),
            SqsOperation::DeleteMessage => {
                let input: DeleteMessageInput = parse(&body)?;
                let receipt = input.receipt_handle.clone();
                let output = match message_of(&receipt) {
                    Some(_) => self.sqs.delete_message(input).await?,
                    None => return Err(no_receipt(&receipt)),
                };
                self.backlog.deleted(&receipt);
                written(&output)
            }
            SqsOperation::DeleteMessageBatch => written(&self.delete_batch(parse(&body)?).await?),
            SqsOperation::CreateQueue => {
                let mut input: CreateQueueInput = parse(&body)?;
                limit_message_size(&mut input.attributes);
                let mut output = self.sqs.create_queue(input).await?;
                output.queue_url = output.queue_url.map(|url| outer(&url, host));
                written(&output)
            }
            SqsOperation::SetQueueAttributes => {
                let mut input: SetQueueAttributesInput = parse(&body)?;
                limit_message_size(&mut input.attributes);
                written(&self.sqs.set_queue_attributes(input).await?)
            }
            SqsOperation::GetQueueUrl => {
                let mut output = self.sqs.get_queue_url(parse(&body)?).await?;
                output.queue_url = output.queue_url.map(|url| outer(&url, host));
                written(&output)
            }
            SqsOperation::ListQueues => {
                let mut output = self.sqs.list_queues(parse(&body)?).await?;
                output.queue_urls.iter_mut().for_each(|url| *url = outer(url, host));
                written(&output)
            }
            SqsOperation::ListDeadLetterSourceQueues => {
                let mut output = self.sqs.list_dead_letter_source_queues(parse(&body)?).await?;
                output.queue_urls.iter_mut().for_each(|url| *url = outer(url, host));
                written(&output)
            }
            SqsOperation::StartMessageMoveTask => written(&self.move_messages(parse(&body)?).await?),
            SqsOperation::ListMessageMoveTasks => {
                let input: ListMessageMoveTasksInput = parse(&body)?;
                let moves = self.moves.lock().unwrap_or_else(PoisonError::into_inner);
                let of_source =
                    moves.iter().rev().filter(|m| m.source_arn.as_ref() == Some(&input.source_arn));
                let most = usize::try_from(input.max_results.unwrap_or(1)).unwrap_or(1);
                written(&ListMessageMoveTasksOutput { results: of_source.take(most).cloned().collect() })
            }
            SqsOperation::PurgeQueue | SqsOperation::DeleteQueue => {
                let named: serde_json::Value = parse(&body)?;
                let response = self.handler.handle_operation(operation, body).await?;
                self.backlog
                    .emptied(named["QueueUrl"].as_str().and_then(|url| url.rsplit('/').next()).unwrap_or(""));
                Ok(response.map(BodyExt::boxed))
            }
            _ => Ok(self.handler.handle_operation(operation, body).await?.map(BodyExt::boxed)),
        }
    }

    async fn receive(&self, mut input: ReceiveMessageInput) -> Result<ReceiveMessageOutput, SqsError> {
        input.message_attribute_names.push(OVERSIZE.into());
        let mut output = self.sqs.receive_message(input).await?;
        for message in &mut output.messages {
            let Some(body) = message.message_attributes.remove(OVERSIZE) else { continue };
            message.body = body.string_value;
            message.md5_of_body = message.body.as_deref().map(md5_of_body);
            message.md5_of_message_attributes = None;
        }
        Ok(output)
    }

    /// rustack takes any text for a receipt; SQS fails an entry whose receipt it never gave.
    async fn delete_batch(
        &self,
        mut input: DeleteMessageBatchInput,
    ) -> Result<DeleteMessageBatchOutput, SqsError> {
        let entries = std::mem::take(&mut input.entries);
        let receipts: Vec<String> = entries.iter().map(|entry| entry.receipt_handle.clone()).collect();
        let (known, unknown): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|entry| message_of(&entry.receipt_handle).is_some());
        input.entries = known;
        let mut output = if input.entries.is_empty() && !unknown.is_empty() {
            DeleteMessageBatchOutput::default()
        } else {
            self.sqs.delete_message_batch(input).await?
        };
        receipts.iter().for_each(|receipt| self.backlog.deleted(receipt));
        output.failed.extend(unknown.into_iter().map(|entry| {
            let error = no_receipt(&entry.receipt_handle);
            BatchResultErrorEntry {
                id: entry.id,
                sender_fault: true,
                code: error.code.error_type().to_owned(),
                message: Some(error.message),
            }
        }));
        Ok(output)
    }

    /// Moves what the queue holds now, then answers: on this machine that takes no longer than starting a task.
    async fn move_messages(
        &self,
        input: StartMessageMoveTaskInput,
    ) -> Result<StartMessageMoveTaskOutput, SqsError> {
        let no_such =
            |_| SqsError::new(SqsErrorCode::ResourceNotFoundException, "The source queue does not exist.");
        let source = self.sqs.queue_url_for_arn(&input.source_arn).map_err(no_such)?;
        let mut moved = 0;
        loop {
            let receive = ReceiveMessageInput {
                queue_url: source.clone(),
                max_number_of_messages: Some(10),
                visibility_timeout: Some(60),
                wait_time_seconds: Some(0),
                message_system_attribute_names: vec!["All".into()],
                message_attribute_names: vec!["All".into()],
                ..ReceiveMessageInput::default()
            };
            let messages = self.sqs.receive_message(receive).await?.messages;
            if messages.is_empty() {
                break;
            }
            for message in messages {
                let from = message.attributes.get("DeadLetterQueueSourceArn");
                let Some(target) = input.destination_arn.as_ref().or(from) else { continue };
                let group = message.attributes.get("MessageGroupId").cloned();
                let send = SendMessageInput {
                    queue_url: self.sqs.queue_url_for_arn(target)?,
                    message_body: message.body.unwrap_or_default(),
                    message_attributes: message.message_attributes,
                    message_deduplication_id: group.is_some().then(request_id),
                    message_group_id: group,
                    ..SendMessageInput::default()
                };
                self.sqs.send_message(send).await?;
                let receipt_handle = message.receipt_handle.unwrap_or_default();
                self.backlog.deleted(&receipt_handle);
                self.sqs
                    .delete_message(DeleteMessageInput { queue_url: source.clone(), receipt_handle })
                    .await?;
                moved += 1;
            }
        }
        Ok(StartMessageMoveTaskOutput { task_handle: Some(self.remember_move(input, moved)) })
    }

    fn remember_move(&self, input: StartMessageMoveTaskInput, moved: i64) -> String {
        let handle = request_id();
        let mut moves = self.moves.lock().unwrap_or_else(PoisonError::into_inner);
        moves.push(ListMessageMoveTasksResultEntry {
            task_handle: Some(handle.clone()),
            source_arn: Some(input.source_arn),
            destination_arn: input.destination_arn,
            max_number_of_messages_per_second: input.max_number_of_messages_per_second,
            approximate_number_of_messages_moved: Some(moved),
            approximate_number_of_messages_to_move: Some(moved),
            failure_reason: None,
            status: Some("COMPLETED".into()),
            started_timestamp: None,
        });
        let excess = moves.len().saturating_sub(REMEMBERED_MOVES);
        moves.drain(..excess);
        handle
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, SqsError> {
    serde_json::from_slice(body).map_err(|error| {
        let text = error.to_string();
        if text.contains("missing field") {
            return SqsError::missing_parameter(format!("The request is incomplete: {text}"));
        }
        SqsError::invalid_parameter_value(format!("The request is no JSON that SQS knows: {text}"))
    })
}

fn no_receipt(receipt: &str) -> SqsError {
    let text = format!("The input receipt handle \"{receipt}\" is not a valid receipt handle.");
    SqsError::new(SqsErrorCode::ReceiptHandleIsInvalid, text)
}

/// An error as SQS words it: the name of today's model in the body, by which SDKs choose their exception, and the
/// query protocol's code in the header. rustack writes the latter into both.
fn refusal(error: &SqsError) -> Response<Body> {
    let code = error.code.error_type();
    let (today, query) = match error.code {
        SqsErrorCode::NonExistentQueue => ("QueueDoesNotExist", code),
        SqsErrorCode::QueueAlreadyExists => ("QueueNameExists", code),
        SqsErrorCode::MessageNotInflight => (code, "AWS.SimpleQueueService.MessageNotInflight"),
        _ => (code.rsplit('.').next().unwrap_or(code), code),
    };
    let body = serde_json::json!({"__type": format!("com.amazonaws.sqs#{today}"), "message": error.message});
    let mut response = respond(error.code.status_code(), CONTENT_TYPE, body.to_string());
    let fault = if error.code.is_sender_fault() { "Sender" } else { "Receiver" };
    if let Ok(query) = HeaderValue::from_str(&format!("{query};{fault}")) {
        response.headers_mut().insert("x-amzn-query-error", query);
    }
    response
}

fn written<T: Serialize>(output: &T) -> Result<Response<Body>, SqsError> {
    let json = serde_json::to_vec(output).map_err(|error| SqsError::internal_error(error.to_string()))?;
    Ok(respond(StatusCode::OK, CONTENT_TYPE, json))
}

fn limit_message_size(attributes: &mut std::collections::HashMap<String, String>) {
    if let Some(size) = attributes.get_mut("MaximumMessageSize")
        && size.parse::<u32>().is_ok_and(|size| (LARGEST_MESSAGE + 1..=1_048_576).contains(&size))
    {
        *size = LARGEST_MESSAGE.to_string();
    }
}

/// A queue's URL as the client can reach it.
fn outer(url: &str, host: &str) -> String {
    let inner = format!("http://{INNER_HOST}:80/");
    url.strip_prefix(&inner).map_or_else(|| url.to_owned(), |path| format!("http://{host}/{path}"))
}

/// An id of 32 hexadecimal digits.
pub(crate) fn request_id() -> String {
    format!("{:032x}", fastrand::u128(..))
}
