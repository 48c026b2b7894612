//! What the tests share.

use aws_sdk_sqs::types::{Message, QueueAttributeName};
use lifeline_emulator::Emulator;

/// Clients of one emulator.
pub(crate) struct Clients {
    pub(crate) emulator: Emulator,
    pub(crate) sqs: aws_sdk_sqs::Client,
    pub(crate) sns: aws_sdk_sns::Client,
}

impl Clients {
    /// In process.
    pub(crate) fn new() -> Self {
        Self::of(Emulator::new())
    }

    pub(crate) fn of(emulator: Emulator) -> Self {
        let config = emulator.sdk_config();
        Self { sqs: aws_sdk_sqs::Client::new(&config), sns: aws_sdk_sns::Client::new(&config), emulator }
    }

    /// Over a socket.
    pub(crate) async fn listening() -> Self {
        let emulator = Emulator::start().await.unwrap();
        let http = crate::http::client();
        let config = emulator.sdk_config().into_builder().http_client(http).build();
        Self { sqs: aws_sdk_sqs::Client::new(&config), sns: aws_sdk_sns::Client::new(&config), emulator }
    }

    /// Receives up to ten messages, with all attributes.
    pub(crate) async fn receive(&self, url: &str) -> Vec<Message> {
        let receive = self.sqs.receive_message().queue_url(url).max_number_of_messages(10);
        let receive = receive.message_attribute_names("All").message_system_attribute_names("All".into());
        receive.send().await.unwrap().messages.unwrap_or_default()
    }

    pub(crate) async fn delete(&self, url: &str, receipt: &str) -> Result<(), String> {
        let delete = self.sqs.delete_message().queue_url(url).receipt_handle(receipt);
        delete.send().await.map(|_| ()).map_err(|error| error_code(&error))
    }

    pub(crate) async fn attribute(&self, url: &str, name: QueueAttributeName) -> String {
        let get = self.sqs.get_queue_attributes().queue_url(url).attribute_names(name.clone());
        get.send().await.unwrap().attributes.unwrap().remove(&name).unwrap_or_default()
    }
}

pub(crate) fn bodies(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| message.body().unwrap_or_default()).collect()
}

pub(crate) fn receipt(message: &Message) -> &str {
    message.receipt_handle().unwrap()
}

/// The code of a service error, or what else went wrong.
pub(crate) fn error_code<E, R>(error: &aws_sdk_sqs::error::SdkError<E, R>) -> String
where
    E: aws_sdk_sqs::error::ProvideErrorMetadata,
{
    use aws_sdk_sqs::error::ProvideErrorMetadata as _;
    error.code().unwrap_or("no code").to_string()
}
