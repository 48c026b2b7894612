//! The invariants: what must be true of every run, judged from the observer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lifeline_consumer::Drained;

use crate::observer::{Delivery, Disturbance, End, Facts, Id};
use crate::plan::Setting;

/// After the end of the grace period the parts of a worker have a second and a half to end.
const ENDING: Duration = Duration::from_secs(2);

/// The dead letters: SQS's id of each, and the publication's.
pub(crate) type Dead = BTreeMap<String, Id>;

/// How long before a receive a fault may have happened that explains what became of it: a call that was lost then may have
/// been on its way, and what it caused may show now.
const BEFORE: Duration = Duration::from_secs(30);

/// Calls per minute that a process may make beside those for messages, whatever fails: four pollers that try again within
/// half a second on average, and four kinds of calls that do so each.
const CALLS_A_MINUTE: u32 = 360;

/// Calls that a message may cost: receive, extensions, delete.
const CALLS_A_MESSAGE: u32 = 8;

impl Facts {
    /// A pod has drained.
    pub(crate) fn drained(&mut self, pod: &Arc<str>, drained: Drained, took: Duration, grace: Duration) {
        let account = drained.account;
        if !account.balances() {
            self.violated(format!("the summary of {pod} does not add up: {account}"));
        }
        let now = self.now();
        let frozen = self.disturbances.iter().any(|d| d.what == "freeze" && d.at + took >= now);
        if took > grace + ENDING && !frozen {
            self.violated(format!("{pod} took {took:?} to drain, with a grace of {grace:?}"));
        }
        let arrived = self.deliveries.iter().filter(|d| d.pod == *pod && d.arrived).count() as u64;
        let of_it = self.deliveries.iter().filter(|d| d.pod == *pod).count() as u64;
        if account.received < arrived || account.received > of_it {
            let what = format!("{pod} counted {} messages of {arrived} to {of_it}", account.received);
            self.violated(what);
        }
        let deleted = self.deliveries.iter().filter(|d| d.pod == *pod && d.deleted).count() as u64;
        if account.deleted > deleted {
            self.violated(format!(
                "{pod} counted {} messages as deleted, and SQS {deleted}",
                account.deleted
            ));
        }
        let stranded = self
            .deliveries
            .iter()
            .filter(|d| d.pod == *pod && d.is_stranded(now) && !self.waits_for_its_head(d));
        // of what was lost on its way here nobody knew
        let known =
            |d: &&Delivery| d.arrived || !self.disturbed_by_others(pod, d.at.saturating_sub(BEFORE), d.at);
        let stranded: Vec<_> = stranded.filter(known).map(|d| format!("#{}", d.id)).collect();
        if !stranded.is_empty() && !self.disturbed_by_others(pod, now.saturating_sub(took + BEFORE), now) {
            let what = format!("{pod} has drained and keeps {} hidden", stranded.join(" "));
            self.violated(what);
        }
        let states = [
            (account.lost_lease, "a lease was lost"),
            (account.released, "a message was released"),
            (account.retried, "a message was retried"),
            (drained.cancelled, "a handler was cancelled"),
        ];
        self.reached.extend(states.into_iter().filter(|(count, _)| *count > 0).map(|(_, state)| state));
    }

    /// As `disturbed`, but the drain itself explains nothing.
    fn disturbed_by_others(&self, pod: &Arc<str>, from: Duration, to: Duration) -> bool {
        let within = |at: Duration| at >= from && at <= to;
        let his = |who: &Option<Arc<str>>| who.as_ref().is_none_or(|who| who == pod);
        self.disturbances.iter().any(|d| within(d.at) && his(&d.who) && d.what != "drain")
    }

    /// All that can only be judged at the end.
    pub(crate) fn judge(&mut self, setting: &Setting, dead: &Dead) {
        if self.deliveries.iter().any(|delivery| delivery.begun.is_none() && self.group_failed(delivery)) {
            self.reached.insert("a group was blocked");
        }
        let mut found = Vec::new();
        found.extend(self.unhandled(dead));
        found.extend(self.spent_receives());
        found.extend(self.handled_again());
        found.extend(self.dead_for_no_reason(dead));
        if setting.max_receives > 2 && setting.pods == 1 && setting.temper.is_quick() {
            found.extend(self.dead_beside_others(dead));
        }
        if setting.fifo {
            found.extend(self.out_of_order(dead));
        }
        found.extend(self.storms());
        found.into_iter().for_each(|what| self.violated(what));
    }

    /// A publication that was confirmed is handled, or is a dead letter.
    fn unhandled(&self, dead: &Dead) -> Vec<String> {
        let lost = self.publications.iter().filter(|(id, publication)| {
            publication.confirmed.is_some()
                && publication.handled.is_none()
                && !publication.excused
                && !dead.values().any(|letter| letter == *id)
        });
        lost.map(|(id, _)| format!("#{id} was confirmed, and was neither handled nor is it a dead letter"))
            .collect()
    }

    /// A receive is spent only on a message that a handler saw, or a fault explains it.
    fn spent_receives(&self) -> Vec<String> {
        let spent = self.deliveries.iter().filter(|delivery| delivery.begun.is_none() && !delivery.tainted);
        let unexplained = spent.filter(|delivery| {
            let until = delivery.visible_at;
            !self.disturbed(&delivery.pod, delivery.at.saturating_sub(BEFORE), until)
                && !self.group_failed(delivery)
        });
        let text = |d: &Delivery| {
            format!(
                "{} spent receive {} of #{} at {:?}, and no handler saw it",
                d.pod, d.receive_count, d.id, d.at
            )
        };
        unexplained.map(text).collect()
    }

    /// It was returned to be visible together with one before it in its group, which failed.
    fn waits_for_its_head(&self, of: &Delivery) -> bool {
        let failed = |other: &Delivery| matches!(other.end, Some((_, End::Failed)));
        self.before_in_group(of)
            .any(|head| failed(head) && head.visible_at + Duration::from_secs(1) >= of.visible_at)
    }

    /// What its pod received of its group that was published before it.
    fn before_in_group<'a>(&'a self, of: &'a Delivery) -> impl Iterator<Item = &'a Delivery> {
        let group = |id: Id| self.publications.get(&id).and_then(|publication| publication.group.as_ref());
        let mine = group(of.id);
        self.deliveries.iter().filter(move |other| {
            mine.is_some() && other.pod == of.pod && other.id < of.id && group(other.id) == mine
        })
    }

    /// One before it in its group was not deleted, so that it had to go back.
    fn group_failed(&self, of: &Delivery) -> bool {
        self.before_in_group(of).any(|other| {
            other.at <= of.at + Duration::from_secs(1)
                && other.end.is_none_or(|(at, end)| end != End::Handled && at >= of.at || !other.deleted)
        })
    }

    /// A message is handled twice only where a fault explains it.
    fn handled_again(&self) -> Vec<String> {
        let mut first: BTreeMap<&str, &Delivery> = BTreeMap::new();
        let mut found = Vec::new();
        let handled = self.deliveries.iter().filter(|d| matches!(d.end, Some((_, End::Handled))));
        for delivery in handled {
            let Some(before) = first.insert(&delivery.message, delivery) else { continue };
            let from = before.at.saturating_sub(BEFORE);
            let until = delivery.at.max(before.visible_at);
            if !before.tainted && !delivery.tainted && !self.disturbed(&before.pod, from, until) {
                let text = format!(
                    "#{} was handled again by {}, and no fault explains it",
                    delivery.id, delivery.pod
                );
                found.push(text);
            }
        }
        found
    }

    /// A dead letter has failed for a reason of its own, or each of its receives was lost to a fault. That a process was
    /// replaced is none: a message on its last receive is handled within the grace.
    fn dead_for_no_reason(&self, dead: &Dead) -> Vec<String> {
        let innocent =
            dead.iter().filter(|(_, id)| self.publications.get(id).is_some_and(|p| p.failures == 0));
        let unexplained = innocent.filter(|(message, _)| {
            let of_it = || self.deliveries.iter().filter(|delivery| delivery.message == **message);
            let lost_to = |d: &Delivery, fault: &Disturbance| {
                let his = fault.who.as_ref().is_none_or(|who| *who == d.pod);
                his && fault.at >= d.at.saturating_sub(BEFORE) && fault.at <= d.visible_at
            };
            let by = |d: &Delivery, but: &str| {
                d.tainted || self.disturbances.iter().any(|fault| lost_to(d, fault) && fault.what != but)
            };
            let last = of_it().max_by_key(|delivery| delivery.receive_count);
            of_it().any(|d| !by(d, "") && !self.group_failed(d))
                || last.is_some_and(|d| d.begun.is_none() && !by(d, "drain"))
        });
        unexplained.map(|(_, id)| format!("#{id} is a dead letter, and has never failed")).collect()
    }

    /// What ends its process goes alone: no other loses all its receives beside such messages, where handlers are quick and a
    /// process learns of all that comes back. Suspects hold up others for a minute at most, and a busy pod that receives what
    /// another died of may get several of them at once.
    fn dead_beside_others(&self, dead: &Dead) -> Vec<String> {
        let innocent =
            dead.iter().filter(|(_, id)| self.publications.get(id).is_some_and(|p| p.failures == 0));
        let unexplained = innocent.filter(|(message, _)| {
            let mut of_it = self.deliveries.iter().filter(|delivery| delivery.message == **message);
            of_it.all(|d| {
                let lost_to = self.disturbances.iter().filter(|fault| {
                    let his = fault.who.as_ref().is_none_or(|who| *who == d.pod);
                    his && fault.at >= d.at.saturating_sub(BEFORE) && fault.at <= d.visible_at
                });
                let mut aborts = 0;
                let alone = lost_to.inspect(|_| aborts += 1).all(|fault| fault.what == "abort");
                alone && aborts > 0 && !d.tainted && !self.group_failed(d)
            })
        });
        unexplained
            .map(|(_, id)| format!("#{id} is a dead letter beside messages that end processes"))
            .collect()
    }

    /// Within a group, none is handled before one that was confirmed before it.
    fn out_of_order(&self, dead: &Dead) -> Vec<String> {
        let mut found = Vec::new();
        let mut groups: BTreeMap<&str, Vec<Id>> = BTreeMap::new();
        for (id, publication) in &self.publications {
            if let Some(group) = &publication.group
                && publication.confirmed.is_some()
                && !publication.excused
                && !dead.values().any(|letter| letter == id)
            {
                groups.entry(group).or_default().push(*id);
            }
        }
        let handled = |id: Id| self.publications.get(&id).and_then(|publication| publication.handled);
        for (group, ids) in groups {
            for pair in ids.windows(2) {
                if let (Some(one), Some(two)) = (handled(pair[0]), handled(pair[1]))
                    && two < one
                {
                    found.push(format!("in {group}, #{} was handled before #{}", pair[1], pair[0]));
                }
            }
        }
        found
    }

    /// Calls stay bounded, whatever fails.
    fn storms(&self) -> Vec<String> {
        let storms = self
            .minutes
            .iter()
            .filter(|(_, minute)| minute.calls > CALLS_A_MINUTE + CALLS_A_MESSAGE * minute.messages);
        let text = |((who, at), minute): (&(Arc<str>, u64), &crate::observer::Minute)| {
            format!(
                "{who} made {} calls in minute {at}, and received {} messages",
                minute.calls, minute.messages
            )
        };
        storms.map(text).collect()
    }
}

impl Delivery {
    /// Hidden for longer than its handler asked for.
    fn is_stranded(&self, now: Duration) -> bool {
        let failed = matches!(self.end, Some((_, End::Failed)));
        !self.deleted && !failed && !self.tainted && self.visible_at > now + Duration::from_secs(1)
    }
}
