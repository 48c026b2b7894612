//! Deduplication windows: for five minutes a FIFO queue or topic answers a known deduplication id with the first
//! message's ids and keeps nothing new.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::clock::Time;

/// How long an id is remembered, in seconds.
pub(crate) const WINDOW: u64 = 300;

/// What was answered the first time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct First {
    pub(crate) message_id: String,
    pub(crate) sequence: Option<String>,
}

/// Group (where the scope is the group) and deduplication id.
type Id = (Option<Arc<str>>, Arc<str>);

/// The ids of the last five minutes.
#[derive(Debug, Default)]
pub(crate) struct Deduplication {
    known: HashMap<Id, (Time, First)>,
    by_age: VecDeque<(Time, Id)>,
}

impl Deduplication {
    /// What the first message with this id was answered, if that was less than five minutes ago.
    pub(crate) fn find(&mut self, group: Option<&Arc<str>>, id: &Arc<str>, now: Time) -> Option<&First> {
        self.expire(now);
        self.known.get(&(group.cloned(), Arc::clone(id))).map(|(_, first)| first)
    }

    pub(crate) fn add(&mut self, group: Option<&Arc<str>>, id: &Arc<str>, first: First, now: Time) {
        let id = (group.cloned(), Arc::clone(id));
        self.by_age.push_back((now, id.clone()));
        self.known.insert(id, (now, first));
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    fn expire(&mut self, now: Time) {
        while let Some((at, _)) = self.by_age.front()
            && at.plus_seconds(WINDOW) <= now
        {
            if let Some((at, id)) = self.by_age.pop_front()
                && self.known.get(&id).is_some_and(|(known, _)| *known == at)
            {
                self.known.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_known_for_five_minutes_within_its_scope() {
        let mut window = Deduplication::default();
        let (id, group): (Arc<str>, Arc<str>) = ("a".into(), "g".into());
        let first = First { message_id: "1".into(), sequence: None };
        window.add(Some(&group), &id, first.clone(), Time(0));
        assert_eq!(window.find(Some(&group), &id, Time(299_999)), Some(&first));
        assert_eq!(window.find(Some(&"other".into()), &id, Time(299_999)), None);
        assert_eq!(window.find(Some(&group), &id, Time(300_000)), None);
        assert!(window.by_age.is_empty());
    }
}
