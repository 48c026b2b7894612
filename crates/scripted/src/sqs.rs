//! SQS' actions, in its AWS JSON 1.0 protocol.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::{
    Shared, State,
    calls::Entry,
    fault::{Decision, Fault, ServiceError},
    queue::{Counts, Dead, Message, Model, Received},
    text_of,
};

type Answer = Result<Value, ServiceError>;

/// Performs one action. Only a receive waits.
pub(crate) async fn perform(shared: &Shared, action: &str, request: &Value, decision: &Decision) -> Answer {
    let fault = decision.fault.as_ref();
    if action == "ReceiveMessage" {
        return receive(shared, request, fault).await;
    }
    let mut state = shared.state();
    let answer = dispatch(&mut state, &shared.url, action, request, decision);
    drop(state);
    shared.touch();
    answer
}

fn dispatch(state: &mut State, url: &str, action: &str, request: &Value, decision: &Decision) -> Answer {
    let fault = decision.fault.as_ref();
    match action {
        "CreateQueue" => create(state, url, request),
        "GetQueueUrl" => {
            let name = text_of(request, "QueueName");
            queue(state, &name).map(|_| json!({"QueueUrl": format!("{url}/{}/{name}", crate::ACCOUNT)}))
        }
        "ListQueues" => {
            let prefix = text_of(request, "QueueNamePrefix");
            let names = state.queues.keys().filter(|name| name.starts_with(&prefix));
            let urls: Vec<_> = names.map(|name| format!("{url}/{}/{name}", crate::ACCOUNT)).collect();
            Ok(json!({"QueueUrls": urls}))
        }
        "DeleteQueue" => {
            let name = name_in(request);
            state.queues.remove(&name).map(|_| json!({})).ok_or_else(no_such_queue)
        }
        "GetQueueAttributes" => attributes(asked(state, request)?, request),
        "SetQueueAttributes" => {
            let attributes = strings(&request["Attributes"]);
            asked(state, request)?.attributes.extend(attributes);
            Ok(json!({}))
        }
        "PurgeQueue" => {
            asked(state, request)?.purge();
            Ok(json!({}))
        }
        "TagQueue" => {
            let tags = strings(&request["Tags"]);
            asked(state, request)?.tags.extend(tags);
            Ok(json!({}))
        }
        "ListQueueTags" => Ok(json!({"Tags": asked(state, request)?.tags})),
        "ListDeadLetterSourceQueues" => {
            let arn = crate::queue_arn(&asked(state, request)?.name);
            let sources = state.queues.values().filter(|q| {
                q.attributes.get("RedrivePolicy").is_some_and(|policy| policy.contains(&format!("\"{arn}\"")))
            });
            let urls: Vec<_> = sources.map(|q| format!("{url}/{}/{}", crate::ACCOUNT, q.name)).collect();
            Ok(json!({"queueUrls": urls}))
        }
        "StartMessageMoveTask" => move_messages(state, request),
        "ListMessageMoveTasks" => Ok(json!({"Results": []})),
        "SendMessage" | "DeleteMessage" | "ChangeMessageVisibility" => {
            if let Some(Fault::FailEntries(_, error)) = fault {
                return Err(error.clone());
            }
            one(asked(state, request)?, action, request, Instant::now())
        }
        "SendMessageBatch" | "DeleteMessageBatch" | "ChangeMessageVisibilityBatch" => {
            batch(asked(state, request)?, action.trim_end_matches("Batch"), request, decision)
        }
        _ => Err(ServiceError::sender(
            "InvalidAction",
            &format!("The action {action} is not in this endpoint."),
        )),
    }
}

/// The entries of a call, with the bodies that their receipts stand for.
pub(crate) fn entries(state: &State, request: &Value) -> Vec<Entry> {
    let queue = state.queues.get(&name_in(request));
    let single = [request.clone()];
    let listed = request["Entries"].as_array().map_or(&single[..], Vec::as_slice);
    let entry = |value: &Value| {
        let receipt = text_of(value, "ReceiptHandle");
        let history = queue.and_then(|q| q.body_of(&receipt));
        Entry {
            id: text_of(value, "Id"),
            body: history.map_or_else(|| text_of(value, "MessageBody"), |h| h.body.clone()),
            message_id: history.map(|h| h.message_id.clone()).unwrap_or_default(),
            receipt,
            value: value.clone(),
        }
    };
    listed.iter().map(entry).collect()
}

fn create(state: &mut State, url: &str, request: &Value) -> Answer {
    let name = text_of(request, "QueueName");
    let attributes = strings(&request["Attributes"]);
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let fifo = attributes.get("FifoQueue").is_some_and(|v| v == "true");
    if name.is_empty()
        || name.len() > 80
        || !name.trim_end_matches(".fifo").chars().all(legal)
        || fifo != name.ends_with(".fifo")
    {
        let text = "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length; FIFO queues end in .fifo";
        return Err(ServiceError::sender("InvalidParameterValue", text));
    }
    if let Some(existing) = state.queues.get(&name) {
        let differs = attributes.iter().find(|(k, v)| existing.attributes.get(*k).is_some_and(|e| e != *v));
        if let Some((attribute, _)) = differs {
            let text = format!(
                "A queue already exists with the same name and a different value for attribute {attribute}"
            );
            return Err(ServiceError::sender("QueueNameExists", &text));
        }
    } else {
        let mut model = Model::new(&name, attributes);
        model.tags = strings(&request["tags"]);
        model.frugal = state.frugal;
        state.queues.insert(name.clone(), model);
    }
    Ok(json!({"QueueUrl": format!("{url}/{}/{name}", crate::ACCOUNT)}))
}

fn attributes(queue: &mut Model, request: &Value) -> Answer {
    let Counts { visible, in_flight, delayed } = queue.counts(Instant::now());
    let mut all = BTreeMap::from(
        [
            ("VisibilityTimeout", "30".to_string()),
            ("DelaySeconds", "0".into()),
            ("ReceiveMessageWaitTimeSeconds", "0".into()),
            ("MaximumMessageSize", "1048576".into()),
            ("MessageRetentionPeriod", "345600".into()),
            ("SqsManagedSseEnabled", "true".into()),
        ]
        .map(|(k, v)| (k.to_string(), v)),
    );
    all.extend(queue.attributes.clone());
    all.extend(
        [
            ("QueueArn", crate::queue_arn(&queue.name)),
            ("ApproximateNumberOfMessages", visible.to_string()),
            ("ApproximateNumberOfMessagesNotVisible", in_flight.to_string()),
            ("ApproximateNumberOfMessagesDelayed", delayed.to_string()),
            ("CreatedTimestamp", "1700000000".into()),
            ("LastModifiedTimestamp", "1700000000".into()),
        ]
        .map(|(k, v)| (k.to_string(), v)),
    );
    let wanted = names(request, "AttributeNames");
    all.retain(|name, _| wanted.contains("All") || wanted.contains(name));
    Ok(json!({"Attributes": all}))
}

fn one(queue: &mut Model, action: &str, entry: &Value, now: Instant) -> Answer {
    let receipt = text_of(entry, "ReceiptHandle");
    match action {
        "SendMessage" => {
            let (message_id, sequence) = queue.send(message(entry), now)?;
            let mut sent = json!({"MessageId": message_id});
            if queue.fifo() {
                sent["SequenceNumber"] = json!(format!("{:020}", sequence + 1));
            }
            Ok(sent)
        }
        "DeleteMessage" => queue.delete(&receipt, now).map(|()| json!({})),
        _ => {
            let Some(timeout) = entry["VisibilityTimeout"].as_u64().filter(|t| *t <= 43_200) else {
                let text = format!(
                    "Value {} for parameter VisibilityTimeout is invalid. Reason: Must be between 0 and 43200.",
                    entry["VisibilityTimeout"]
                );
                return Err(ServiceError::sender("InvalidParameterValue", &text));
            };
            queue.change_visibility(&receipt, Duration::from_secs(timeout), now).map(|()| json!({}))
        }
    }
}

fn batch(queue: &mut Model, action: &str, request: &Value, decision: &Decision) -> Answer {
    let fault = decision.fault.as_ref();
    let entries = request["Entries"].as_array().cloned().unwrap_or_default();
    let ids: Vec<String> = entries.iter().map(|entry| text_of(entry, "Id")).collect();
    check_batch(&ids)?;
    let size: usize = entries.iter().map(|entry| text_of(entry, "MessageBody").len()).sum();
    if size > 1_048_576 {
        let text = format!("Batch requests cannot be longer than 1048576 bytes. You have sent {size} bytes.");
        return Err(ServiceError::sender("BatchRequestTooLong", &text));
    }
    let now = Instant::now();
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for (entry, id) in entries.iter().zip(ids) {
        if let Some(Fault::LeaveOut(test)) = fault
            && (test.0)(&as_entry(queue, entry))
        {
            if decision.after_effect {
                one(queue, action, entry, now).ok();
            }
            continue;
        }
        let scripted = match fault {
            Some(Fault::FailEntries(test, error)) => {
                let seen = as_entry(queue, entry);
                (test.0)(&seen).then(|| error.clone())
            }
            _ => None,
        };
        match scripted.map_or_else(|| one(queue, action, entry, now), Err) {
            Ok(mut done) => {
                done["Id"] = json!(id);
                successful.push(done);
            }
            Err(e) => failed
                .push(json!({"Id": id, "Code": e.code, "Message": e.message, "SenderFault": e.sender_fault})),
        }
    }
    let mut answer = json!({});
    if !successful.is_empty() {
        answer["Successful"] = json!(successful);
    }
    if !failed.is_empty() {
        answer["Failed"] = json!(failed);
    }
    Ok(answer)
}

fn as_entry(queue: &Model, value: &Value) -> Entry {
    let receipt = text_of(value, "ReceiptHandle");
    let history = queue.body_of(&receipt);
    Entry {
        id: text_of(value, "Id"),
        body: history.map_or_else(|| text_of(value, "MessageBody"), |h| h.body.clone()),
        message_id: history.map(|h| h.message_id.clone()).unwrap_or_default(),
        receipt,
        value: value.clone(),
    }
}

/// What SQS and SNS ask of every batch: one to ten entries, ids distinct and legal.
pub(crate) fn check_batch(ids: &[String]) -> Result<(), ServiceError> {
    if ids.is_empty() {
        return Err(ServiceError::sender(
            "EmptyBatchRequest",
            "The batch request doesn't contain any entries.",
        ));
    }
    if ids.len() > 10 {
        let text = format!("Maximum number of entries per request are 10. You have sent {}.", ids.len());
        return Err(ServiceError::sender("TooManyEntriesInBatchRequest", &text));
    }
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if ids.iter().any(|id| id.is_empty() || id.len() > 80 || !id.chars().all(legal)) {
        return Err(ServiceError::sender(
            "InvalidBatchEntryId",
            "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most 80 letters long.",
        ));
    }
    if ids.iter().collect::<HashSet<_>>().len() != ids.len() {
        return Err(ServiceError::sender(
            "BatchEntryIdsNotDistinct",
            "Two or more batch entries in the request have the same Id.",
        ));
    }
    Ok(())
}

async fn receive(shared: &Shared, request: &Value, fault: Option<&Fault>) -> Answer {
    let max = request["MaxNumberOfMessages"].as_u64().unwrap_or(1);
    if !(1..=10).contains(&max) {
        let text = format!(
            "Value {max} for parameter MaxNumberOfMessages is invalid. Reason: Must be between 1 and 10, if provided."
        );
        return Err(ServiceError::sender("InvalidParameterValue", &text));
    }
    let lease = request["VisibilityTimeout"].as_u64().map(Duration::from_secs);
    let mut changes = shared.changes();
    let mut deadline = None;
    loop {
        changes.mark_unchanged();
        let now = Instant::now();
        let next = {
            let mut state = shared.state();
            let queue = asked(&mut state, request)?;
            let wait = request["WaitTimeSeconds"]
                .as_u64()
                .unwrap_or_else(|| queue.number("ReceiveMessageWaitTimeSeconds", 0));
            let deadline = *deadline.get_or_insert(now + Duration::from_secs(wait.min(20)));
            let max = usize::try_from(max).unwrap_or(10);
            let twice = matches!(fault, Some(Fault::DuplicateEntries));
            let (mut received, dead) = queue.take(if twice { max.div_ceil(2) } else { max }, lease, now);
            if twice {
                received = duplicated(queue, received, max);
            }
            if let Some(Fault::LoseLease(thief)) = fault {
                let bodies: HashSet<_> = received.iter().map(|m| m.body.clone()).collect();
                queue.break_leases(|body| bodies.contains(body), Some(*thief), now);
            }
            let next = queue.next_change(now).map_or(deadline, |at| at.min(deadline));
            let moved = !dead.is_empty();
            bury(&mut state, dead, now);
            drop(state);
            if moved || !received.is_empty() {
                shared.touch();
            }
            if !received.is_empty() || now >= deadline {
                return Ok(rendered(&received, request));
            }
            next
        };
        tokio::select! {
            changed = changes.changed() => if changed.is_err() {
                return Err(no_such_queue());
            },
            () = tokio::time::sleep_until(next) => {}
        }
    }
}

fn duplicated(queue: &mut Model, received: Vec<Received>, max: usize) -> Vec<Received> {
    let mut twice = Vec::with_capacity(max);
    for message in received {
        let second = queue.second_receipt(&message.receipt);
        let second = second.map(|receipt| Received { receipt, ..message.clone() });
        twice.push(message);
        twice.extend(second);
    }
    twice.truncate(max);
    twice
}

fn rendered(received: &[Received], request: &Value) -> Value {
    let mut system = names(request, "MessageSystemAttributeNames");
    system.extend(names(request, "AttributeNames"));
    let wanted = names(request, "MessageAttributeNames");
    let is_wanted = |name: &str| {
        wanted.iter().any(|w| {
            w == "All" || w == name || w.strip_suffix(".*").is_some_and(|prefix| name.starts_with(prefix))
        })
    };
    let messages: Vec<Value> = received
        .iter()
        .map(|m| {
            let mut message = json!({"MessageId": m.message_id, "ReceiptHandle": m.receipt, "Body": m.body});
            let attributes: BTreeMap<_, _> = m
                .system
                .iter()
                .filter(|(name, _)| system.contains("All") || system.contains(*name))
                .collect();
            if !attributes.is_empty() {
                message["Attributes"] = json!(attributes);
            }
            let custom: BTreeMap<_, _> = m.attributes.iter().filter(|(name, _)| is_wanted(name)).collect();
            if !custom.is_empty() {
                message["MessageAttributes"] = json!(custom);
            }
            message
        })
        .collect();
    if messages.is_empty() { json!({}) } else { json!({"Messages": messages}) }
}

fn move_messages(state: &mut State, request: &Value) -> Answer {
    let source = text_of(request, "SourceArn");
    let now = Instant::now();
    let queue = queue(state, crate::name_of(&source)).map_err(|_| {
        ServiceError::not_found(
            "ResourceNotFoundException",
            "The resource that you specified for the SourceArn parameter doesn't exist.",
        )
    })?;
    let mut moved = queue.drain_to(now);
    if let Some(destination) = request["DestinationArn"].as_str() {
        moved.iter_mut().for_each(|dead| dead.target = destination.into());
    }
    for dead in &mut moved {
        dead.message.receives = 0;
    }
    bury(state, moved, now);
    Ok(json!({"TaskHandle": crate::uuid()}))
}

fn bury(state: &mut State, dead: Vec<Dead>, now: Instant) {
    for dead in dead {
        let source = crate::queue_arn(&dead.source);
        if let Some(target) = state.queues.get_mut(crate::name_of(&dead.target)) {
            target.accept_dead(dead, source, now);
        }
    }
}

fn message(entry: &Value) -> Message {
    let attributes = entry["MessageAttributes"].as_object().cloned().unwrap_or_default();
    Message {
        body: text_of(entry, "MessageBody"),
        attributes: attributes.into_iter().collect(),
        delay: entry["DelaySeconds"].as_u64().map(Duration::from_secs),
        group: entry["MessageGroupId"].as_str().map(Into::into),
        deduplication: entry["MessageDeduplicationId"].as_str().map(Into::into),
        receives: 0,
        trace_header: entry["MessageSystemAttributes"]["AWSTraceHeader"]["StringValue"]
            .as_str()
            .map(Into::into),
    }
}

fn name_in(request: &Value) -> String {
    let named = text_of(request, "QueueUrl");
    named.rsplit('/').next().unwrap_or_default().to_string()
}

fn asked<'a>(state: &'a mut State, request: &Value) -> Result<&'a mut Model, ServiceError> {
    queue(state, &name_in(request))
}

fn queue<'a>(state: &'a mut State, name: &str) -> Result<&'a mut Model, ServiceError> {
    state.queues.get_mut(name).ok_or_else(no_such_queue)
}

fn no_such_queue() -> ServiceError {
    ServiceError::sender("QueueDoesNotExist", "The specified queue does not exist.")
}

fn names(request: &Value, key: &str) -> HashSet<String> {
    let listed = request[key].as_array().map(Vec::as_slice).unwrap_or_default();
    listed.iter().filter_map(Value::as_str).map(Into::into).collect()
}

fn strings(map: &Value) -> BTreeMap<String, String> {
    let map = map.as_object().cloned().unwrap_or_else(Map::new);
    map.into_iter().filter_map(|(k, v)| Some((k, v.as_str()?.to_string()))).collect()
}

/// The body of an error, and its `x-amzn-query-error` header: SQS still names the old query codes there.
pub(crate) fn error(error: &ServiceError) -> (Value, String) {
    let old = match error.code.as_str() {
        "QueueDoesNotExist" => "AWS.SimpleQueueService.NonExistentQueue".into(),
        "QueueNameExists" => "QueueAlreadyExists".into(),
        code @ ("MessageNotInflight"
        | "BatchRequestTooLong"
        | "TooManyEntriesInBatchRequest"
        | "EmptyBatchRequest"
        | "BatchEntryIdsNotDistinct"
        | "InvalidBatchEntryId"
        | "UnsupportedOperation"
        | "QueueDeletedRecently") => {
            format!("AWS.SimpleQueueService.{code}")
        }
        code => code.to_string(),
    };
    let fault = if error.sender_fault { "Sender" } else { "Receiver" };
    (
        json!({"__type": format!("com.amazonaws.sqs#{}", error.code), "message": error.message}),
        format!("{old};{fault}"),
    )
}
