//! The answer of a receive, read in one pass.
//!
//! The SDK reads an answer token by token and takes the escapes out of a body byte by byte: a third of the instructions
//! that a message of 200 bytes costs, and most of one of 10 kB. This reads the same JSON into the same type with serde_json,
//! which copies what stands between two escapes at once. It steps into the SDK's call by its interceptors; the request,
//! the signature, the connection and every answer that is an error stay the SDK's.
//!
//! Protocol: <https://smithy.io/2.0/aws/protocols/aws-json-1_0-protocol.html>, members:
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_Message.html>.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use aws_sdk_sqs::operation::receive_message::ReceiveMessageOutput;
use aws_sdk_sqs::primitives::Blob;
use aws_sdk_sqs::types::{Message, MessageAttributeValue, MessageSystemAttributeName};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeDeserializationInterceptorContextRef, Error, Output,
};
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, Metadata, OrchestratorError};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::client::ser_de::{DeserializeResponse, SharedResponseDeserializer};
use aws_smithy_types::config_bag::ConfigBag;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, de};

/// Puts [`Reader`] in the place of the SDK's own for a receive that succeeded.
#[derive(Debug)]
pub(crate) struct ReadInOnePass;

#[dyn_dispatch_hint]
impl Intercept for ReadInOnePass {
    fn name(&self) -> &'static str {
        "ReadInOnePass"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let receive = config.load::<Metadata>().is_some_and(|call| call.name() == "ReceiveMessage");
        if receive && context.response().status().is_success() {
            config.interceptor_state().store_put(SharedResponseDeserializer::new(Reader));
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Reader;

impl DeserializeResponse for Reader {
    fn deserialize_nonstreaming_with_config(
        &self,
        response: &HttpResponse,
        _: &ConfigBag,
    ) -> Result<Output, OrchestratorError<Error>> {
        #[cfg(test)]
        super::used::note();
        let body = response.body().bytes().unwrap_or_default();
        read(body).map(Output::erase).map_err(|error| OrchestratorError::response(error.into()))
    }
}

/// Reads the body of an answer of 2xx. Nothing at all is an answer without messages, as it is to the SDK.
fn read(body: &[u8]) -> Result<ReceiveMessageOutput, serde_json::Error> {
    let answer = if body.is_empty() { Answer::default() } else { serde_json::from_slice(body)? };
    let messages = answer.messages.map(|messages| messages.into_iter().map(Message::try_from).collect());
    Ok(ReceiveMessageOutput::builder().set_messages(messages.transpose()?).build())
}

#[derive(Default, Deserialize)]
struct Answer<'a> {
    #[serde(rename = "Messages", borrow)]
    messages: Option<Vec<Entry<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry<'a> {
    message_id: Option<String>,
    receipt_handle: Option<String>,
    #[serde(rename = "MD5OfBody")]
    md5_of_body: Option<String>,
    body: Option<String>,
    #[serde(default, deserialize_with = "system_attributes")]
    attributes: Option<HashMap<MessageSystemAttributeName, String>>,
    #[serde(rename = "MD5OfMessageAttributes")]
    md5_of_message_attributes: Option<String>,
    #[serde(borrow)]
    message_attributes: Option<HashMap<String, Value<'a>>>,
}

impl TryFrom<Entry<'_>> for Message {
    type Error = serde_json::Error;

    fn try_from(entry: Entry<'_>) -> Result<Self, Self::Error> {
        let attributes = entry.message_attributes.map(|all| {
            all.into_iter()
                .map(|(name, value)| Ok((name, value.try_into()?)))
                .collect::<Result<_, Self::Error>>()
        });
        Ok(Self::builder()
            .set_message_id(entry.message_id)
            .set_receipt_handle(entry.receipt_handle)
            .set_md5_of_body(entry.md5_of_body)
            .set_body(entry.body)
            .set_attributes(entry.attributes)
            .set_md5_of_message_attributes(entry.md5_of_message_attributes)
            .set_message_attributes(attributes.transpose()?)
            .build())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Value<'a> {
    data_type: Option<String>,
    string_value: Option<String>,
    #[serde(borrow)]
    binary_value: Option<Cow<'a, str>>,
    string_list_values: Option<Vec<String>>,
    #[serde(borrow)]
    binary_list_values: Option<Vec<Cow<'a, str>>>,
}

impl TryFrom<Value<'_>> for MessageAttributeValue {
    type Error = serde_json::Error;

    fn try_from(value: Value<'_>) -> Result<Self, Self::Error> {
        let lists = value.binary_list_values.map(|all| all.iter().map(|text| blob(text)).collect());
        Self::builder()
            // one without a type has the empty one, as the SDK reads it
            .data_type(value.data_type.unwrap_or_default())
            .set_string_value(value.string_value)
            .set_binary_value(value.binary_value.map(|text| blob(&text)).transpose()?)
            .set_string_list_values(value.string_list_values)
            .set_binary_list_values(lists.transpose()?)
            .build()
            .map_err(de::Error::custom)
    }
}

fn blob(text: &str) -> Result<Blob, serde_json::Error> {
    aws_smithy_types::base64::decode(text).map(Blob::new).map_err(de::Error::custom)
}

/// A map whose keys are read where they stand: there are three or four in every message.
fn system_attributes<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<HashMap<MessageSystemAttributeName, String>>, D::Error> {
    struct Attributes;

    impl<'de> Visitor<'de> for Attributes {
        type Value = Option<HashMap<MessageSystemAttributeName, String>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map of system attributes")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
            let mut attributes = HashMap::with_capacity(4);
            while let Some((Name(name), value)) = entries.next_entry()? {
                attributes.insert(name, value);
            }
            Ok(Some(attributes))
        }
    }

    from.deserialize_any(Attributes)
}

struct Name(MessageSystemAttributeName);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a system attribute")
            }

            fn visit_str<E>(self, name: &str) -> Result<Name, E> {
                Ok(Name(MessageSystemAttributeName::from(name)))
            }
        }

        from.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
    use aws_smithy_runtime_api::client::http::{
        HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
    };
    use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
    use aws_smithy_types::body::SdkBody;
    use proptest::prelude::*;
    use serde_json::{Value as Json, json};

    /// Answers every call with the same.
    #[derive(Debug, Clone)]
    struct Canned(u16, Vec<u8>);

    impl HttpConnector for Canned {
        fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
            let status = self.0.try_into().expect("a status");
            HttpConnectorFuture::ready(Ok(HttpResponse::new(status, SdkBody::from(self.1.clone()))))
        }
    }

    /// What a receive makes of an answer, read by the SDK alone and with [`ReadInOnePass`]: the output or the failure's text.
    fn both(status: u16, body: impl Into<Vec<u8>>) -> [Result<ReceiveMessageOutput, String>; 2] {
        let canned = Canned(status, body.into());
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("us-east-1"))
            .endpoint_url("http://canned")
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .retry_config(aws_config::retry::RetryConfig::disabled())
            .http_client(http_client_fn(move |_, _| SharedHttpConnector::new(canned.clone())));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        [config.clone(), config.interceptor(ReadInOnePass)].map(|config| {
            let client = aws_sdk_sqs::Client::from_conf(config.build());
            let answer = runtime.block_on(client.receive_message().queue_url("http://canned/q").send());
            answer.map_err(|error| crate::call::chain(&error))
        })
    }

    /// Asserts that both read the same, and returns it.
    fn same(body: impl Into<Vec<u8>>) -> ReceiveMessageOutput {
        let [theirs, ours] = both(200, body);
        assert_eq!(ours, theirs);
        ours.expect("an answer")
    }

    #[test]
    fn a_message_with_everything_is_read_as_the_sdk_reads_it() {
        let answer = json!({"Messages": [{
            "MessageId": "id", "ReceiptHandle": "AQE\"\\\n", "MD5OfBody": "0", "Body": "tab\t 🦀 \u{1} /",
            "Attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "2", "Unheard": "of"},
            "MD5OfMessageAttributes": "1", "Unheard": [{"of": null}, 1.5e3, true],
            "MessageAttributes": {
                "text": {"DataType": "String", "StringValue": "ä"},
                "blob": {"DataType": "Binary", "BinaryValue": "AAH/"},
                "lists": {"DataType": "x", "StringListValues": ["a", "b"], "BinaryListValues": ["AA==", ""]},
                "bare": {},
            },
        }], "Unheard": {"of": []}});
        let read = same(answer.to_string());
        assert_eq!(read.messages()[0].message_attributes.as_ref().map(HashMap::len), Some(4));
        assert_eq!(read.messages()[0].attributes.as_ref().map(HashMap::len), Some(3));
    }

    #[test]
    fn what_is_missing_or_null_is_none() {
        for body in ["", "{}", "{\"Messages\":null}", "{\"Messages\":[]}"] {
            assert!(same(body).messages().is_empty(), "{body}");
        }
        let names = ["MessageId", "ReceiptHandle", "MD5OfBody", "Body", "Attributes", "MessageAttributes"];
        for name in names {
            let read = same(json!({"Messages": [{}, {name: null}, {"Body": "x"}]}).to_string());
            assert_eq!(read.messages()[2].body(), Some("x"), "{name}");
        }
    }

    #[test]
    fn escapes_are_read_in_every_form() {
        let body = r#"{"Messages":[{"Body":"\u0041\u00e9\ud83e\udd80\/\b\f\n\r\t\\\"","\u0042odyX":1,"MessageI\u0064":"id"}]}"#;
        let read = same(body);
        assert_eq!(read.messages()[0].body(), Some("Aé🦀/\u{8}\u{c}\n\r\t\\\""));
        assert_eq!(read.messages()[0].message_id(), Some("id"));
    }

    #[test]
    fn rubbish_is_an_error_to_both() {
        let bad =
            ["{", "[]", "null", "{} {}", "<html>", r#"{"Messages":{}}"#, r#"{"Messages":[{"Body":1}]}"#];
        let worse = [r#"{"Messages":[{"Body":"\ud800"}]}"#, r#"{"Messages":[{"Attributes":{"a":null}}]}"#];
        let blob = [r#"{"Messages":[{"MessageAttributes":{"a":{"BinaryValue":"!"}}}]}"#];
        for body in bad.into_iter().chain(worse).chain(blob) {
            let [theirs, ours] = both(200, body);
            assert!(theirs.is_err() && ours.is_err(), "{body}: {theirs:?} {ours:?}");
            // what it says shows whose reader it was
            assert_ne!(theirs, ours, "{body}");
        }
        let [theirs, ours] = both(200, *b"{\"Messages\":[{\"Body\":\"\xff\"}]}");
        assert!(theirs.is_err() && ours.is_err(), "not UTF-8: {theirs:?} {ours:?}");
    }

    #[test]
    fn an_error_is_left_to_the_sdk() {
        let missing = r#"{"__type":"com.amazonaws.sqs#QueueDoesNotExist","message":"gone"}"#;
        for (status, body) in [(400, missing), (403, "{}"), (500, ""), (503, "<html>"), (302, "{}")] {
            let [theirs, ours] = both(status, body);
            assert!(ours.is_err(), "{status}: {ours:?}");
            assert_eq!(ours, theirs, "{status}");
        }
    }

    fn text() -> impl Strategy<Value = Json> {
        prop_oneof![4 => any::<String>().prop_map(Json::from), 1 => Just(Json::Null)]
    }

    fn message() -> impl Strategy<Value = Json> {
        let attribute = (any::<String>(), proptest::option::of(any::<Vec<u8>>()), text()).prop_map(
            |(kind, bytes, text)| {
                let bytes = bytes.map(aws_smithy_types::base64::encode);
                json!({"DataType": kind, "StringValue": text, "BinaryValue": bytes})
            },
        );
        let attributes = proptest::collection::hash_map(any::<String>(), attribute, 0..4);
        let system = proptest::collection::hash_map(any::<String>(), any::<String>(), 0..4);
        (text(), text(), text(), attributes, system, any::<String>()).prop_map(|(id, receipt, body, attributes, system, more)| {
            let mut message = json!({
                "MessageId": id, "ReceiptHandle": receipt, "Body": body, "MessageAttributes": attributes, "Attributes": system,
            });
            // a member that is not known, also one whose value is none of ours
            if !["MD5OfBody", "MD5OfMessageAttributes"].contains(&more.as_str()) {
                message.as_object_mut().expect("an object").entry(more).or_insert(json!([1, {"a": [null]}]));
            }
            message
        })
    }

    proptest! {
        #[test]
        fn every_answer_is_read_as_the_sdk_reads_it(messages in proptest::collection::vec(message(), 0..4)) {
            let [theirs, ours] = both(200, json!({"Messages": messages}).to_string());
            prop_assert!(ours.is_ok());
            prop_assert_eq!(ours, theirs);
        }
    }
}
