//! Faults of batch entries and of received messages: entries that fail, entries that no answer mentions, messages that
//! come twice or are taken away.

use serde_json::{Value, json};

use crate::{
    clock::Time,
    error::Result,
    model::{receipt::Receipt, world::World},
    protocol::Input,
    record::Entry,
    request::Parsed,
};

/// The request's entries, changeable. The parameters become a tree if they are none yet.
fn list(parsed: &mut Parsed) -> Result<Option<&mut Vec<Value>>> {
    if let Input::Json(_) = parsed.input {
        let tree = parsed.input.clone().read()?;
        parsed.input = Input::Tree(tree);
    }
    let Input::Tree(tree) = &mut parsed.input else { return Ok(None) };
    let name = if tree.get("Entries").is_some() { "Entries" } else { "PublishBatchRequestEntries" };
    Ok(tree.get_mut(name).and_then(Value::as_array_mut))
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().into()
}

/// An entry as faults and the record see it: with the body of the message that it sends, or that its receipt is for.
fn entry(world: &World, value: &Value) -> Entry {
    let receipt = text(value, "ReceiptHandle");
    let mut entry = Entry {
        id: text(value, "Id"),
        body: value["MessageBody"].as_str().or_else(|| value["Message"].as_str()).unwrap_or_default().into(),
        message_id: String::new(),
        value: value.clone(),
        receipt,
    };
    if let Some(receipt) = Receipt::decode(&entry.receipt)
        && let Some(queue) = world.queues.values().find(|queue| queue.number == receipt.queue)
    {
        let present = queue.messages.get(&receipt.key).map(|message| (&message.id, &message.body));
        let past = || queue.journal.get(receipt.key).map(|history| (&history.id, &history.body));
        if let Some((id, body)) = present.or_else(past) {
            (entry.message_id, entry.body) = (id.clone(), body.to_string());
        }
    }
    entry
}

/// The entries of a request, or the request itself as its only one.
pub(crate) fn all(world: &World, request: &Value) -> Vec<Entry> {
    let listed = ["Entries", "PublishBatchRequestEntries"].iter().find_map(|name| request[*name].as_array());
    match listed {
        Some(list) => list.iter().map(|value| entry(world, value)).collect(),
        None => vec![entry(world, request)],
    }
}

/// Takes the entries that fit out of the request; their ids. `None` for a request without entries.
pub(crate) fn take_out(
    world: &World,
    parsed: &mut Parsed,
    test: &crate::fault::Entries,
) -> Result<Option<Vec<String>>> {
    let Some(list) = list(parsed)? else { return Ok(None) };
    let mut taken = Vec::new();
    list.retain(|value| {
        let entry = entry(world, value);
        let fits = test.contains(&entry);
        if fits {
            taken.push(entry.id);
        }
        !fits
    });
    Ok(Some(taken))
}

/// The ids of the entries that fit.
pub(crate) fn matching(
    world: &World,
    parsed: &mut Parsed,
    test: &crate::fault::Entries,
) -> Result<Vec<String>> {
    let Some(list) = list(parsed)? else { return Ok(Vec::new()) };
    let all = list.iter().map(|value| entry(world, value));
    Ok(all.filter(|entry| test.contains(entry)).map(|entry| entry.id).collect())
}

/// Whether the request has no entries left.
pub(crate) fn is_empty(parsed: &Parsed) -> bool {
    let Input::Tree(tree) = &parsed.input else { return false };
    ["Entries", "PublishBatchRequestEntries"]
        .iter()
        .any(|name| tree[name].as_array().is_some_and(Vec::is_empty))
}

/// Adds entries that failed to an answer.
pub(crate) fn add_failed(mut answer: Value, ids: &[String], code: &str, sender: bool) -> Value {
    let failed = ids.iter().map(|id| {
        json!({"Id": id, "Code": code, "SenderFault": sender, "Message": format!("{code}, by the emulator's fault")})
    });
    let mut all = answer["Failed"].as_array().cloned().unwrap_or_default();
    all.extend(failed);
    answer["Failed"] = all.into();
    answer
}

/// Takes entries out of an answer.
pub(crate) fn leave_out(answer: &mut Value, ids: &[String]) {
    for name in ["Successful", "Failed"] {
        if let Some(list) = answer.get_mut(name).and_then(Value::as_array_mut) {
            list.retain(|entry| !ids.contains(&text(entry, "Id")));
        }
    }
}

/// Doubles received messages; the second of each has a receipt of its own.
pub(crate) fn duplicate(world: &mut World, answer: &mut Value) {
    let Some(messages) = answer.get_mut("Messages").and_then(Value::as_array_mut) else { return };
    let mut copies = messages.clone();
    for copy in &mut copies {
        let receipt = copy["ReceiptHandle"].as_str().and_then(Receipt::decode);
        if let Some(receipt) = receipt {
            copy["ReceiptHandle"] = receipt.encode(&mut world.random).into();
        }
    }
    messages.extend(copies);
}

/// Takes received messages from their receiver.
pub(crate) fn take_away(world: &mut World, answer: &Value, seconds: u64, now: Time) {
    let messages = answer["Messages"].as_array().into_iter().flatten();
    let receipts = messages.filter_map(|message| Receipt::decode(message["ReceiptHandle"].as_str()?));
    for receipt in receipts {
        let queue = world.queues.values_mut().find(|queue| queue.number == receipt.queue);
        if let Some(queue) = queue {
            queue.take_away(receipt.key, seconds, now);
        }
    }
}
