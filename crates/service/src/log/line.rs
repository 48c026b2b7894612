//! A line that is written without the subscriber, in the form of the others: before it is installed, and about itself.

use serde_json::Value;
use tracing::Level;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use super::Format;

/// `message` of this process at `level`, with the line break at its end.
pub(crate) fn line(format: Format, level: Level, message: &str, fields: &[(&str, u64)]) -> String {
    let mut time = String::new();
    // without a time the line still says what it must
    SystemTime.format_time(&mut Writer::new(&mut time)).ok();
    match format {
        Format::Text => {
            let fields: String = fields.iter().map(|(name, value)| format!(" {name}={value}")).collect();
            format!("{time} {level:>5} service: {}{fields}\n", lifeline_escape::Line::new(message))
        }
        Format::Json => {
            let fields: String = fields.iter().map(|(name, value)| format!("\"{name}\":{value},")).collect();
            let message = Value::from(message);
            format!(
                "{{\"timestamp\":\"{time}\",\"level\":\"{level}\",\"message\":{message},{fields}\"target\":\"service\"}}\n"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_form_of_the_others() {
        let text = "a \"quoted\"\nvalue";
        let json: Value =
            serde_json::from_str(&line(Format::Json, Level::ERROR, text, &[("lines", 3)])).unwrap();
        assert_eq!((json["message"].as_str(), json["lines"].as_u64()), (Some(text), Some(3)));
        assert_eq!((json["level"].as_str(), json["target"].as_str()), (Some("ERROR"), Some("service")));
        let plain = line(Format::Text, Level::WARN, text, &[("lines", 3)]);
        assert!(plain.ends_with("Z  WARN service: a \"quoted\"\\nvalue lines=3\n"), "{plain}");
    }
}
