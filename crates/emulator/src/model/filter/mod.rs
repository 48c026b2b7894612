//! Filter policies of subscriptions: which messages of a topic a subscriber gets, by message attributes or by the
//! fields of a JSON body.

mod matching;
mod policy;
mod rule;

pub(crate) use policy::{FilterPolicy, Scope};
