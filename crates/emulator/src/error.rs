//! Errors as AWS words them: HTTP status, code, text, and who is to blame.

use std::borrow::Cow;

/// An error that a call is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AwsError {
    pub(crate) status: u16,
    /// The code in XML, and in the JSON protocol's `x-amzn-query-error`.
    pub(crate) code: Cow<'static, str>,
    /// The shape's name in the JSON protocol, where it differs from the code.
    pub(crate) shape: Option<&'static str>,
    pub(crate) message: String,
    pub(crate) sender: bool,
}

pub(crate) type Result<T> = std::result::Result<T, AwsError>;

impl AwsError {
    pub(crate) fn new(status: u16, code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { status, code: code.into(), shape: None, message: message.into(), sender: status < 500 }
    }

    fn shaped(mut self, shape: &'static str) -> Self {
        self.shape = Some(shape);
        self
    }

    /// The name of the error's shape in the JSON protocol.
    pub(crate) fn shape(&self) -> &str {
        self.shape.unwrap_or(&self.code)
    }
}

/// SQS's errors. Several have a code of 2012 in XML and a shape's name in JSON.
pub(crate) mod sqs {
    use super::AwsError;

    pub(crate) fn invalid_parameter(message: impl Into<String>) -> AwsError {
        AwsError::new(400, "InvalidParameterValue", message).shaped("InvalidParameterValueException")
    }

    /// `Value x for parameter y is invalid. Reason: z`
    pub(crate) fn invalid_value(
        value: impl std::fmt::Display,
        parameter: &str,
        reason: impl std::fmt::Display,
    ) -> AwsError {
        invalid_parameter(format!("Value {value} for parameter {parameter} is invalid. Reason: {reason}"))
    }

    pub(crate) fn missing(parameter: &str) -> AwsError {
        AwsError::new(400, "MissingParameter", format!("The request must contain the parameter {parameter}."))
            .shaped("MissingRequiredParameterException")
    }

    pub(crate) fn no_such_queue() -> AwsError {
        AwsError::new(400, "AWS.SimpleQueueService.NonExistentQueue", "The specified queue does not exist.")
            .shaped("QueueDoesNotExist")
    }

    pub(crate) fn invalid_attribute_name(message: impl Into<String>) -> AwsError {
        AwsError::new(400, "InvalidAttributeName", message)
    }

    pub(crate) fn invalid_attribute_value(message: impl Into<String>) -> AwsError {
        AwsError::new(400, "InvalidAttributeValue", message)
    }

    pub(crate) fn queue_exists(attribute: &str) -> AwsError {
        let message = format!(
            "A queue already exists with the same name and a different value for attribute {attribute}"
        );
        AwsError::new(400, "QueueAlreadyExists", message).shaped("QueueNameExists")
    }

    pub(crate) fn deleted_recently() -> AwsError {
        AwsError::new(
            400,
            "AWS.SimpleQueueService.QueueDeletedRecently",
            "You must wait 60 seconds after deleting a queue before you can create another with the same name.",
        )
        .shaped("QueueDeletedRecently")
    }

    pub(crate) fn purge_in_progress(queue: &str) -> AwsError {
        let message = format!("Only one PurgeQueue operation on {queue} is allowed every 60 seconds.");
        AwsError::new(403, "AWS.SimpleQueueService.PurgeQueueInProgress", message)
            .shaped("PurgeQueueInProgress")
    }

    pub(crate) fn over_limit(message: impl Into<String>) -> AwsError {
        AwsError::new(403, "OverLimit", message)
    }

    pub(crate) fn invalid_receipt(receipt: &str) -> AwsError {
        let message = format!("The input receipt handle \"{receipt}\" is not a valid receipt handle.");
        AwsError::new(404, "ReceiptHandleIsInvalid", message)
    }

    pub(crate) fn invalid_contents() -> AwsError {
        AwsError::new(
            400,
            "InvalidMessageContents",
            "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to \
             #xFFFD | #x10000 to #x10FFFF",
        )
    }

    pub(crate) fn not_found(message: impl Into<String>) -> AwsError {
        AwsError::new(404, "ResourceNotFoundException", message)
    }

    pub(crate) fn batch(code: &'static str, shape: &'static str, message: impl Into<String>) -> AwsError {
        AwsError::new(400, code, message).shaped(shape)
    }

    pub(crate) fn throttled(message: impl Into<String>) -> AwsError {
        AwsError::new(400, "RequestThrottled", message)
    }
}

/// SNS's errors.
pub(crate) mod sns {
    use super::AwsError;

    /// `Invalid parameter: …`
    pub(crate) fn invalid(message: impl std::fmt::Display) -> AwsError {
        AwsError::new(400, "InvalidParameter", format!("Invalid parameter: {message}"))
    }

    pub(crate) fn invalid_attribute(message: impl Into<String>) -> AwsError {
        AwsError::new(400, "ParameterValueInvalid", message)
    }

    pub(crate) fn not_found(what: &str) -> AwsError {
        AwsError::new(404, "NotFound", format!("{what} does not exist"))
    }

    pub(crate) fn validation(at: &str, constraint: &str) -> AwsError {
        let message = format!(
            "1 validation error detected: Value null at '{at}' failed to satisfy constraint: {constraint}"
        );
        AwsError::new(400, "ValidationError", message)
    }

    pub(crate) fn throttled(message: impl Into<String>) -> AwsError {
        AwsError::new(400, "Throttled", message)
    }
}

/// The action is not built: nothing is accepted and dropped.
pub(crate) fn not_implemented(what: &str) -> AwsError {
    AwsError::new(
        501,
        "NotImplemented",
        format!("{what} is not implemented by lifeline's emulator; use AWS or LocalStack for it"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_a_code_for_xml_and_a_shape_for_json() {
        let error = sqs::no_such_queue();
        assert_eq!(error.code, "AWS.SimpleQueueService.NonExistentQueue");
        assert_eq!(error.shape(), "QueueDoesNotExist");
        assert!(error.sender && error.status == 400);
        assert!(!AwsError::new(503, "ServiceUnavailable", "").sender);
    }
}
