//! The attributes of a message, as the commands print them with `--json`.

use lifeline_messaging::message::Message;
use serde_json::{Value, json};

/// `{"NAME": {"type": "String", "value": "…"}}`; binary values are base64.
pub(crate) fn as_json(message: &Message) -> Value {
    message
        .attributes
        .iter()
        .map(|(name, value)| (name.clone(), json!({"type": value.data_type(), "value": value.to_text()})))
        .collect()
}
