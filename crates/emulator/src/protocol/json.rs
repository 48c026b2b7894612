//! AWS JSON 1.0.

use serde::de::DeserializeOwned;

use crate::error::{AwsError, Result};

pub(crate) const CONTENT_TYPE: &str = "application/x-amz-json-1.0";

pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    // A list would be read as the parameters in their order.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(AwsError::new(400, "SerializationException", "the body is not a JSON object"));
    }
    serde_json::from_slice(body)
        .map_err(|error| AwsError::new(400, "SerializationException", error.to_string()))
}

/// The body of an error. Shapes that SQS's model does not define come from the framework below it.
pub(crate) fn error(error: &AwsError) -> String {
    let shape = error.shape();
    let undefined = matches!(
        shape,
        "InvalidParameterValueException"
            | "MissingRequiredParameterException"
            | "InvalidAttributeValueException"
            | "SerializationException"
            | "NotImplemented"
    );
    let space = if undefined { "com.amazon.coral.service" } else { "com.amazonaws.sqs" };
    serde_json::json!({"__type": format!("{space}#{shape}"), "message": error.message}).to_string()
}
