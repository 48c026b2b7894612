//! A published message, before it is delivered.

use std::{collections::BTreeMap, sync::Arc};

use super::attribute::Attributes;

/// A message that a topic accepted.
#[derive(Debug, Clone)]
pub(crate) struct Notification {
    pub(crate) id: String,
    pub(crate) subject: Option<String>,
    pub(crate) body: Body,
    pub(crate) attributes: Arc<Attributes>,
    pub(crate) group: Option<Arc<str>>,
    pub(crate) deduplication: Option<Arc<str>>,
    pub(crate) sequence: Option<String>,
    pub(crate) trace_header: Option<String>,
}

/// The same text for all protocols, or one for each.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    Text(Arc<str>),
    ByProtocol(BTreeMap<String, Arc<str>>),
}

impl Body {
    pub(crate) fn of(&self, protocol: &str) -> Arc<str> {
        match self {
            Self::Text(text) => Arc::clone(text),
            Self::ByProtocol(texts) => {
                texts.get(protocol).or_else(|| texts.get("default")).cloned().unwrap_or_default()
            }
        }
    }
}
