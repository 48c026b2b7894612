//! The form of a `PublishBatch`, written in one pass.
//!
//! The SDK makes a text of its own for the name of every field, looks a body through byte by byte for what must be encoded,
//! and copies it twice: as much work as all else that publishing a message takes. This writes the same form, byte for
//! byte, into a buffer of its size. Like [`crate::codec::receive`] it steps into the SDK's call by an interceptor.
//!
//! Protocol: <https://smithy.io/2.0/aws/protocols/aws-query-protocol.html>, members:
//! <https://docs.aws.amazon.com/sns/latest/api/API_PublishBatchRequestEntry.html>.

use aws_sdk_sns::operation::publish_batch::PublishBatchInput;
use aws_sdk_sns::types::{MessageAttributeValue, PublishBatchRequestEntry};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeSerializationInterceptorContextRef, Input,
};
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::client::ser_de::{SerializeRequest, SharedRequestSerializer};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use hyper::Request;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE};

/// Puts [`Writer`] in the place of the SDK's own for a `PublishBatch`.
#[derive(Debug)]
pub(crate) struct WriteInOnePass;

#[dyn_dispatch_hint]
impl Intercept for WriteInOnePass {
    fn name(&self) -> &'static str {
        "WriteInOnePass"
    }

    fn read_before_serialization(
        &self,
        context: &BeforeSerializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if context.input().downcast_ref::<PublishBatchInput>().is_some() {
            config.interceptor_state().store_put(SharedRequestSerializer::new(Writer));
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Writer;

impl SerializeRequest for Writer {
    fn serialize_input(&self, input: Input, _: &mut ConfigBag) -> Result<HttpRequest, BoxError> {
        #[cfg(test)]
        super::used::note();
        let input = input.downcast::<PublishBatchInput>().map_err(|_| "no PublishBatch")?;
        let form = form(&input);
        let request = Request::post("/")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(CONTENT_LENGTH, form.len())
            .body(SdkBody::from(form))?;
        Ok(request.try_into()?)
    }
}

fn form(input: &PublishBatchInput) -> Vec<u8> {
    let mut form = Form(Vec::with_capacity(room(input)));
    form.put("Action=PublishBatch&Version=2010-03-31");
    form.field(&["TopicArn"], input.topic_arn());
    match &input.publish_batch_request_entries {
        None => {}
        // an empty list is its name alone
        Some(entries) if entries.is_empty() => form.field(&["PublishBatchRequestEntries"], Some("")),
        Some(entries) => {
            for (at, of) in entries.iter().enumerate() {
                entry(&mut form, &format!("PublishBatchRequestEntries.member.{}.", at + 1), of);
            }
        }
    }
    form.0
}

fn entry(form: &mut Form, prefix: &str, of: &PublishBatchRequestEntry) {
    form.field(&[prefix, "Id"], Some(&of.id));
    form.field(&[prefix, "Message"], Some(&of.message));
    form.field(&[prefix, "Subject"], of.subject());
    form.field(&[prefix, "MessageStructure"], of.message_structure());
    for (at, (name, value)) in of.message_attributes.iter().flatten().enumerate() {
        let numbered = format!("{prefix}MessageAttributes.entry.{}.", at + 1);
        form.field(&[&numbered, "Name"], Some(name));
        attribute(form, &numbered, value);
    }
    form.field(&[prefix, "MessageDeduplicationId"], of.message_deduplication_id());
    form.field(&[prefix, "MessageGroupId"], of.message_group_id());
}

fn attribute(form: &mut Form, prefix: &str, of: &MessageAttributeValue) {
    form.field(&[prefix, "Value.DataType"], Some(&of.data_type));
    form.field(&[prefix, "Value.StringValue"], of.string_value());
    let binary = of.binary_value.as_ref().map(aws_smithy_types::base64::encode);
    form.field(&[prefix, "Value.BinaryValue"], binary.as_deref());
}

/// Bytes that the form will have, about: names, and bodies as they are.
fn room(input: &PublishBatchInput) -> usize {
    let entries = input.publish_batch_request_entries();
    let of = |entry: &PublishBatchRequestEntry| {
        // by how much prose and JSON grow; whatever needs more has it when it comes
        let attributes = entry.message_attributes.as_ref().map_or(0, |attributes| attributes.len());
        256 + entry.message.len() * 5 / 4 + attributes * 384
    };
    128 + entries.iter().map(of).sum::<usize>()
}

struct Form(Vec<u8>);

impl Form {
    fn put(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    /// Writes a field that has a value.
    fn field(&mut self, name: &[&str], value: Option<&str>) {
        let Some(value) = value else { return };
        self.put("&");
        for part in name {
            self.put(part);
        }
        self.put("=");
        self.encode(value.as_bytes());
    }

    /// Appends `%20` for a space, and so on for all but letters, digits and `-._~`.
    ///
    /// Without a branch for what a byte is, for in prose every sixth would be predicted wrongly: four bytes are written for
    /// each, and those that do not count are written over by the next.
    fn encode(&mut self, value: &[u8]) {
        let mut at = self.0.len();
        let length: usize = value.iter().map(|byte| usize::from(ENCODED[usize::from(*byte)][3])).sum();
        self.0.resize(at + length + 3, 0);
        for byte in value {
            let encoded = ENCODED[usize::from(*byte)];
            if let Some(four) = self.0[at..].first_chunk_mut() {
                *four = encoded;
            }
            at += usize::from(encoded[3]);
        }
        self.0.truncate(at);
    }
}

/// Each byte as it is written, up to three bytes, and how many they are.
const ENCODED: [[u8; 4]; 256] = {
    let digits = b"0123456789ABCDEF";
    let mut table = [[0; 4]; 256];
    let mut byte = 0;
    while byte < 256 {
        let plain = byte as u8;
        table[byte] = if plain.is_ascii_alphanumeric() || matches!(plain, b'-' | b'.' | b'_' | b'~') {
            [plain, 0, 0, 1]
        } else {
            [b'%', digits[byte >> 4], digits[byte & 15], 3]
        };
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    use aws_sdk_sns::config::{BehaviorVersion, Credentials, Region};
    use aws_sdk_sns::primitives::Blob;
    use aws_smithy_runtime_api::client::http::{
        HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
    };
    use aws_smithy_runtime_api::client::result::ConnectorError;
    use proptest::prelude::*;

    /// Keeps the last request, and answers none.
    #[derive(Debug, Clone, Default)]
    struct Kept(Arc<Mutex<Option<HttpRequest>>>);

    impl HttpConnector for Kept {
        fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
            *self.0.lock().expect("no panic") = Some(request);
            HttpConnectorFuture::ready(Err(ConnectorError::user("kept".into())))
        }
    }

    /// The method, address, headers of the content and body of a batch, written by the SDK alone and by us.
    fn both(entries: Option<Vec<PublishBatchRequestEntry>>) -> [(String, Vec<Option<String>>, String); 2] {
        let kept = Kept::default();
        let connector = SharedHttpConnector::new(kept.clone());
        let config = aws_sdk_sns::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("us-east-1"))
            .endpoint_url("http://kept")
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .retry_config(aws_config::retry::RetryConfig::disabled())
            .http_client(http_client_fn(move |_, _| connector.clone()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        [config.clone(), config.interceptor(WriteInOnePass)].map(|config| {
            let call = aws_sdk_sns::Client::from_conf(config.build()).publish_batch();
            let call = call.topic_arn("arn:aws:sns:us-east-1:0:a-b_c.fifo");
            let call = call.set_publish_batch_request_entries(entries.clone());
            runtime.block_on(call.send()).expect_err("kept");
            let request = kept.0.lock().expect("no panic").take().expect("a request");
            let headers = ["content-type", "content-length"];
            (
                format!("{} {}", request.method(), request.uri()),
                headers.map(|name| request.headers().get(name).map(str::to_owned)).to_vec(),
                String::from_utf8(request.body().bytes().expect("in memory").to_vec()).expect("ASCII"),
            )
        })
    }

    fn entry(id: &str, message: &str) -> aws_sdk_sns::types::builders::PublishBatchRequestEntryBuilder {
        PublishBatchRequestEntry::builder().id(id).message(message)
    }

    #[test]
    fn a_batch_with_everything_is_written_as_the_sdk_writes_it() {
        let text =
            MessageAttributeValue::builder().data_type("String").string_value("00-a=b&c").build().unwrap();
        let blob = MessageAttributeValue::builder().data_type("Binary").binary_value(Blob::new([0, 255]));
        let full = entry("0", "a b\u{1F980}\n%&+")
            .subject("s")
            .message_structure("json")
            .message_attributes("trace parent", text)
            .message_attributes("blob", blob.build().unwrap())
            .message_group_id("g/1")
            .message_deduplication_id("d 1");
        let entries = vec![full.build().unwrap(), entry("1", "").build().unwrap()];
        let [theirs, ours] = both(Some(entries));
        assert_eq!(ours, theirs);
        assert!(
            ours.2.contains("&PublishBatchRequestEntries.member.1.Message=a%20b%F0%9F%A6%80%0A%25%26%2B&")
        );
    }

    #[test]
    fn an_empty_batch_and_none_are_too() {
        for entries in [None, Some(Vec::new())] {
            let [theirs, ours] = both(entries);
            assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn only_unreserved_bytes_stay_as_they_are() {
        for byte in 0..=127_u8 {
            let [theirs, ours] = both(Some(vec![entry("0", &char::from(byte).to_string()).build().unwrap()]));
            assert_eq!(ours, theirs);
        }
    }

    fn any_attribute() -> impl Strategy<Value = MessageAttributeValue> {
        let fields = (any::<String>(), any::<Option<String>>(), any::<Option<Vec<u8>>>());
        fields.prop_map(|(kind, text, bytes)| {
            let value = MessageAttributeValue::builder().data_type(kind).set_string_value(text);
            value.set_binary_value(bytes.map(Blob::new)).build().unwrap()
        })
    }

    fn any_entry() -> impl Strategy<Value = PublishBatchRequestEntry> {
        let attributes = proptest::collection::hash_map(any::<String>(), any_attribute(), 0..4);
        let texts = (any::<String>(), any::<String>(), any::<Option<String>>(), any::<Option<String>>());
        let fields = (texts, proptest::option::of(attributes));
        fields.prop_map(|((id, message, group, subject), attributes)| {
            let entry = entry(&id, &message).set_message_group_id(group).set_subject(subject);
            entry.set_message_attributes(attributes).build().unwrap()
        })
    }

    proptest! {
        #[test]
        fn every_batch_is_written_as_the_sdk_writes_it(entries in proptest::collection::vec(any_entry(), 0..4)) {
            let [theirs, ours] = both(Some(entries));
            prop_assert_eq!(ours, theirs);
        }
    }
}
