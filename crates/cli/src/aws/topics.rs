//! SNS' half: rustack's topics, with the operations in between that need more than it gives.
//!
//! In between are publishing (SNS' own refusals, binary attributes, one pass over the form instead of one a
//! parameter), and the subscription calls that set or show `RawMessageDelivery`, which is kept in [`Delivery`].

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::BodyExt;
use rustack_sns_core::{handler::RustackSnsHandler, provider::RustackSns};
use rustack_sns_http::{
    dispatch::SnsHandler,
    request::{get_optional_bool, get_optional_param, get_required_param, parse_attributes_map},
    response::{XmlWriter, error_to_response},
    router::resolve_operation,
};
use rustack_sns_model::{
    error::SnsError,
    input::{
        GetSubscriptionAttributesInput, PublishBatchInput, PublishInput, SetSubscriptionAttributesInput,
        SubscribeInput, UnsubscribeInput,
    },
    operations::SnsOperation,
    types::{MessageAttributeValue, PublishBatchRequestEntry},
};

use super::{
    backlog::Backlog,
    delivery::Delivery,
    gateway::{Body, respond},
    queues::request_id,
};

/// SNS' default `MaximumMessageSize`, for a message and for a whole batch; rustack knows no other.
const LARGEST_PUBLISH: usize = 262_144;
const RAW: &str = "RawMessageDelivery";

#[derive(Debug)]
pub(crate) struct Topics {
    sns: Arc<RustackSns>,
    handler: RustackSnsHandler,
    delivery: Arc<Delivery>,
    backlog: Arc<Backlog>,
}

type Form = Vec<(String, String)>;

/// An error of SNS, or one that rustack has no name for.
enum Refusal {
    Sns(SnsError),
    Other { code: &'static str, message: String },
}

impl From<SnsError> for Refusal {
    fn from(error: SnsError) -> Self {
        Self::Sns(error)
    }
}

impl Topics {
    pub(crate) fn new(sns: Arc<RustackSns>, delivery: Arc<Delivery>, backlog: Arc<Backlog>) -> Self {
        Self { handler: RustackSnsHandler::new(Arc::clone(&sns)), sns, delivery, backlog }
    }

    /// Answers one request.
    pub(crate) async fn answer(&self, body: Bytes) -> Response<Body> {
        let form: Form = form_urlencoded::parse(&body).into_owned().collect();
        let answered = match resolve_operation(&form) {
            Ok(operation) => self.perform(operation, form, body).await,
            Err(error) => Err(error.into()),
        };
        let id = request_id();
        let mut response = answered.unwrap_or_else(|refusal| match refusal {
            Refusal::Sns(error) => error_to_response(&error, &id).map(BodyExt::boxed),
            Refusal::Other { code, message } => {
                let mut xml = XmlWriter::new();
                xml.raw("<ErrorResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><Error><Type>Sender</Type>");
                xml.write_element("Code", code);
                xml.write_element("Message", &message);
                xml.raw("</Error>");
                xml.write_element("RequestId", &id);
                xml.raw("</ErrorResponse>");
                respond(StatusCode::BAD_REQUEST, "text/xml", xml.into_string())
            }
        });
        if let Ok(id) = HeaderValue::from_str(&id) {
            response.headers_mut().insert("x-amzn-requestid", id);
        }
        response
    }

    async fn perform(
        &self,
        operation: SnsOperation,
        form: Form,
        body: Bytes,
    ) -> Result<Response<Body>, Refusal> {
        match operation {
            SnsOperation::PublishBatch => self.publish_batch(form).await,
            SnsOperation::Publish => self.publish(form).await,
            SnsOperation::Subscribe => self.subscribe(&form),
            SnsOperation::SetSubscriptionAttributes => self.set_subscription(&form),
            SnsOperation::GetSubscriptionAttributes => self.get_subscription(&form),
            SnsOperation::Unsubscribe => {
                let subscription_arn = get_required_param(&form, "SubscriptionArn")?.to_owned();
                if let Ok((topic, queue)) = self.ends(&subscription_arn) {
                    self.delivery.set_raw(&topic, &queue, false);
                }
                self.sns.unsubscribe(&UnsubscribeInput { subscription_arn })?;
                Ok(result("Unsubscribe", |_| {}))
            }
            SnsOperation::DeleteTopic => {
                self.delivery.forget_topic(get_optional_param(&form, "TopicArn").unwrap_or_default());
                Ok(self.handler.handle_operation(operation, body).await?.map(BodyExt::boxed))
            }
            _ => Ok(self.handler.handle_operation(operation, body).await?.map(BodyExt::boxed)),
        }
    }

    async fn publish(&self, form: Form) -> Result<Response<Body>, Refusal> {
        let (call, mut entries) = publication(form, "");
        let entry = entries.pop().unwrap_or_default();
        refuse(&entry)?;
        if size(&entry) > LARGEST_PUBLISH {
            return Err(SnsError::invalid_parameter("Invalid parameter: Message too long").into());
        }
        self.wait_for_room().await?;
        let input = PublishInput {
            topic_arn: call.get("TopicArn").cloned(),
            target_arn: call.get("TargetArn").cloned(),
            phone_number: call.get("PhoneNumber").cloned(),
            message: entry.message,
            subject: entry.subject,
            message_structure: entry.message_structure,
            message_attributes: entry.message_attributes,
            message_group_id: entry.message_group_id,
            message_deduplication_id: entry.message_deduplication_id,
        };
        let output = self.sns.publish(input).await?;
        Ok(result("Publish", |xml| {
            xml.write_optional_element("MessageId", output.message_id.as_deref());
            xml.write_optional_element("SequenceNumber", output.sequence_number.as_deref());
        }))
    }

    async fn publish_batch(&self, form: Form) -> Result<Response<Body>, Refusal> {
        let (mut call, entries) = publication(form, "PublishBatchRequestEntries.member.");
        let bytes: usize = entries.iter().map(size).sum();
        if bytes > LARGEST_PUBLISH {
            let message = format!(
                "The length of all the batch messages put together is more than the limit: {bytes} bytes, at most {LARGEST_PUBLISH}."
            );
            return Err(Refusal::Other { code: "BatchRequestTooLong", message });
        }
        self.wait_for_room().await?;
        let (mut refused, mut fit) = (Vec::new(), Vec::new());
        let whole = entries.len();
        for entry in entries {
            match refuse(&entry) {
                Err(error) if whole <= 10 => refused.push((entry.id, error)),
                _ => fit.push(entry),
            }
        }
        let topic_arn = call.remove("TopicArn").unwrap_or_default();
        let output = if fit.is_empty() && !refused.is_empty() {
            None
        } else {
            Some(
                self.sns
                    .publish_batch(PublishBatchInput { topic_arn, publish_batch_request_entries: fit })
                    .await?,
            )
        };
        Ok(result("PublishBatch", |xml| {
            xml.raw("<Successful>");
            for entry in output.iter().flat_map(|o| &o.successful) {
                xml.raw("<member>");
                xml.write_element("Id", &entry.id);
                xml.write_element("MessageId", &entry.message_id);
                xml.write_optional_element("SequenceNumber", entry.sequence_number.as_deref());
                xml.raw("</member>");
            }
            xml.raw("</Successful><Failed>");
            let refused = refused.iter().map(|(id, e)| (id, e.code.code(), &e.message, true));
            let failed = output.iter().flat_map(|o| &o.failed);
            for (id, code, message, sender) in
                refused.chain(failed.map(|f| (&f.id, f.code.as_str(), &f.message, f.sender_fault)))
            {
                xml.raw("<member>");
                xml.write_element("Id", id);
                xml.write_element("Code", code);
                xml.write_element("Message", message);
                xml.write_bool_element("SenderFault", sender);
                xml.raw("</member>");
            }
            xml.raw("</Failed>");
        }))
    }

    async fn wait_for_room(&self) -> Result<(), Refusal> {
        if self.backlog.room().await {
            return Ok(());
        }
        let message =
            "The queues hold all that this endpoint may hold: publish more slowly, or receive.".into();
        Err(Refusal::Other { code: "Throttling", message })
    }

    fn subscribe(&self, form: &Form) -> Result<Response<Body>, Refusal> {
        let mut attributes = parse_attributes_map(form, "Attributes")?;
        let raw = attributes.remove(RAW).is_some_and(|raw| raw.eq_ignore_ascii_case("true"));
        let topic_arn = get_required_param(form, "TopicArn")?.to_owned();
        let endpoint = get_optional_param(form, "Endpoint").map(str::to_owned);
        let output = self.sns.subscribe(SubscribeInput {
            topic_arn: topic_arn.clone(),
            protocol: get_required_param(form, "Protocol")?.to_owned(),
            endpoint: endpoint.clone(),
            attributes,
            return_subscription_arn: get_optional_bool(form, "ReturnSubscriptionArn").unwrap_or(true),
        })?;
        if raw && let Some(queue) = endpoint {
            self.delivery.set_raw(&topic_arn, &queue, true);
        }
        Ok(result("Subscribe", |xml| {
            xml.write_optional_element("SubscriptionArn", output.subscription_arn.as_deref())
        }))
    }

    fn set_subscription(&self, form: &Form) -> Result<Response<Body>, Refusal> {
        let subscription_arn = get_required_param(form, "SubscriptionArn")?.to_owned();
        let attribute_name = get_required_param(form, "AttributeName")?.to_owned();
        let attribute_value = get_optional_param(form, "AttributeValue").map(str::to_owned);
        if attribute_name == RAW {
            let (topic, queue) = self.ends(&subscription_arn)?;
            self.delivery.set_raw(
                &topic,
                &queue,
                attribute_value.is_some_and(|raw| raw.eq_ignore_ascii_case("true")),
            );
        } else {
            let input = SetSubscriptionAttributesInput { subscription_arn, attribute_name, attribute_value };
            self.sns.set_subscription_attributes(input)?;
        }
        Ok(result("SetSubscriptionAttributes", |_| {}))
    }

    fn get_subscription(&self, form: &Form) -> Result<Response<Body>, Refusal> {
        let subscription_arn = get_required_param(form, "SubscriptionArn")?.to_owned();
        let (topic, queue) = self.ends(&subscription_arn)?;
        let mut attributes = self
            .sns
            .get_subscription_attributes(&GetSubscriptionAttributesInput { subscription_arn })?
            .attributes;
        attributes.insert(RAW.into(), self.delivery.is_raw(&topic, &queue).to_string());
        Ok(result("GetSubscriptionAttributes", |xml| {
            xml.raw("<Attributes>");
            for (key, value) in &attributes {
                xml.raw("<entry>");
                xml.write_element("key", key);
                xml.write_element("value", value);
                xml.raw("</entry>");
            }
            xml.raw("</Attributes>");
        }))
    }

    /// The ARNs of the topic and of the queue that a subscription joins.
    fn ends(&self, subscription_arn: &str) -> Result<(String, String), SnsError> {
        let input = GetSubscriptionAttributesInput { subscription_arn: subscription_arn.to_owned() };
        let mut attributes = self.sns.get_subscription_attributes(&input)?.attributes;
        let mut take = |name| attributes.remove(name).unwrap_or_default();
        Ok((take("TopicArn"), take("Endpoint")))
    }
}

/// What SNS refuses and rustack would deliver, or lose on the way.
fn refuse(entry: &PublishBatchRequestEntry) -> Result<(), SnsError> {
    if entry.message.is_empty() {
        return Err(SnsError::invalid_parameter("Invalid parameter: Empty message"));
    }
    // XML 1.0's characters.
    let legal = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{FFFD}' | '\u{10000}'..);
    if !entry.message.chars().all(legal) {
        return Err(SnsError::invalid_parameter(
            "Invalid parameter: Message has characters that XML 1.0 does not allow",
        ));
    }
    Ok(())
}

/// What counts against SNS' limit: the message and, of each attribute, name, type and value.
fn size(entry: &PublishBatchRequestEntry) -> usize {
    let attributes = entry.message_attributes.iter().map(|(name, value)| {
        name.len() + value.data_type.len() + value.string_value.as_ref().map_or(0, String::len)
    });
    entry.message.len() + attributes.sum::<usize>()
}

/// The parameters of a publish call itself, and its entries in order. For a single `Publish`, with an empty prefix,
/// the call is the one entry. One pass: the form of a batch has hundreds of parameters.
fn publication(form: Form, prefix: &str) -> (HashMap<String, String>, Vec<PublishBatchRequestEntry>) {
    let mut call = HashMap::new();
    let mut entries: Vec<(u32, PublishBatchRequestEntry, Vec<Named>)> = Vec::new();
    for (key, value) in form {
        let Some(rest) = key.strip_prefix(prefix) else {
            call.insert(key, value);
            continue;
        };
        let (index, field) = match rest.split_once('.') {
            Some((index, field)) if !prefix.is_empty() => (index.parse().unwrap_or_default(), field),
            _ => (0, rest),
        };
        if entries.last().is_none_or(|(last, ..)| *last != index)
            && !entries.iter().any(|(i, ..)| *i == index)
        {
            entries.push((index, PublishBatchRequestEntry::default(), Vec::new()));
        }
        let Some((_, entry, attributes)) = entries.iter_mut().rev().find(|(i, ..)| *i == index) else {
            continue;
        };
        match field {
            "Id" => entry.id = value,
            "Message" => entry.message = value,
            "Subject" => entry.subject = Some(value),
            "MessageStructure" => entry.message_structure = Some(value),
            "MessageGroupId" => entry.message_group_id = Some(value),
            "MessageDeduplicationId" => entry.message_deduplication_id = Some(value),
            field => match field
                .strip_prefix("MessageAttributes.entry.")
                .and_then(|rest| rest.split_once('.'))
            {
                Some((index, part)) => attribute(attributes, index.parse().unwrap_or_default(), part, value),
                None => drop(call.insert(key, value)),
            },
        }
    }
    entries.sort_by_key(|(index, ..)| *index);
    let entries = entries.into_iter().map(|(_, mut entry, attributes)| {
        entry.message_attributes = attributes.into_iter().map(|named| (named.name, named.value)).collect();
        entry
    });
    (call, entries.collect())
}

#[derive(Default)]
struct Named {
    index: u32,
    name: String,
    value: MessageAttributeValue,
}

fn attribute(attributes: &mut Vec<Named>, index: u32, part: &str, text: String) {
    if !attributes.iter().any(|named| named.index == index) {
        attributes.push(Named { index, ..Named::default() });
    }
    let Some(named) = attributes.iter_mut().find(|named| named.index == index) else { return };
    match part {
        "Name" => named.name = text,
        "Value.DataType" => named.value.data_type = text,
        // rustack writes only strings into the envelope; SNS writes a binary value there in the base64 it came in.
        "Value.StringValue" | "Value.BinaryValue" => named.value.string_value = Some(text),
        _ => {}
    }
}

fn result(action: &str, write: impl FnOnce(&mut XmlWriter)) -> Response<Body> {
    let mut xml = XmlWriter::new();
    xml.start_response(action);
    xml.start_result(action);
    write(&mut xml);
    xml.end_element(&format!("{action}Result"));
    xml.write_response_metadata(&request_id());
    xml.end_element(&format!("{action}Response"));
    respond(StatusCode::OK, "text/xml", xml.into_string())
}
