//! Inputs: what a handler may take, made from a message.

use lifeline_messaging::message::Message;
use serde::de::DeserializeOwned;

use crate::failure::Failure;

/// What a handler may take: made from a message. A message of which it cannot be made is failed, not rejected, because a
/// new version with a wrong struct would otherwise move the whole queue into the dead-letter queue.
#[diagnostic::on_unimplemented(
    message = "a handler cannot take `{Self}`: it does not implement `FromMessage`",
    label = "this handler takes `{Self}`",
    note = "for a JSON body, take `Json<T>` of a type `T` that derives `serde::Deserialize`; for all of the message, take `Message`",
    note = "a `Context` is the second argument, after the message"
)]
pub trait FromMessage: Sized + Send + 'static {
    /// Why a message has not this form.
    type Error: Into<Failure>;

    /// Reads the message.
    ///
    /// # Errors
    /// It has not this form.
    fn from_message(message: &Message) -> Result<Self, Self::Error>;
}

/// The body of a message, read as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Json<T>(pub T);

impl FromMessage for Message {
    type Error = std::convert::Infallible;

    fn from_message(message: &Message) -> Result<Self, Self::Error> {
        Ok(message.clone())
    }
}

/// The body.
impl FromMessage for String {
    type Error = std::convert::Infallible;

    fn from_message(message: &Message) -> Result<Self, Self::Error> {
        Ok(message.body.clone())
    }
}

impl<T: DeserializeOwned + Send + 'static> FromMessage for Json<T> {
    type Error = serde_json::Error;

    fn from_message(message: &Message) -> Result<Self, Self::Error> {
        serde_json::from_str(&message.body).map(Self)
    }
}

/// The body as JSON, beside the attributes and all else that is known about the message.
///
/// ```
/// use lifeline_consumer::{Failure, IntoHandler, Json, Message};
///
/// #[derive(serde::Deserialize)]
/// struct Order {
///     id: u64,
/// }
///
/// async fn handle(message: Message<Json<Order>>) -> Result<(), Failure> {
///     println!("{:?} {}", message.attribute("kind"), message.body.0.id);
///     Ok(())
/// }
/// # let _handler = handle.boxed();
/// ```
impl<T: DeserializeOwned + Send + 'static> FromMessage for Message<Json<T>> {
    type Error = serde_json::Error;

    fn from_message(message: &Message) -> Result<Self, Self::Error> {
        Ok(message.with_body(Json::from_message(message)?))
    }
}

/// The handler decides what an unreadable message means.
impl<M: FromMessage> FromMessage for Result<M, M::Error>
where
    M::Error: Send + 'static,
{
    type Error = std::convert::Infallible;

    fn from_message(message: &Message) -> Result<Self, Self::Error> {
        Ok(M::from_message(message))
    }
}
