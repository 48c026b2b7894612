//! Batch calls to SQS: one batching component, and the two calls that it sends.

pub(crate) mod batcher;
pub(crate) mod delete;
pub(crate) mod visibility;

use aws_sdk_sqs::types::BatchResultErrorEntry;
use lifeline_messaging::call::evidence::{EntryVerdict, Refusal};

/// The most entries that SQS takes in one batch.
pub(crate) const LARGEST: usize = 10;

/// What a batch response says about one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Its id was listed as successful.
    Done,
    /// Its entry failed for a reason that is in its receipt: that is over, or another's.
    ReceiptInvalid,
    /// Its entry failed because the visibility would exceed SQS's twelve hours.
    BeyondLimit,
    /// Nothing is known about this message: the call failed, the response was not SQS's, or did not mention it.
    Unproven,
}

/// Reads every entry of a response. Ids are positions: the same message may be in a batch twice.
fn verdicts<'a>(
    entries: usize,
    successful: impl IntoIterator<Item = &'a str>,
    failed: &[BatchResultErrorEntry],
) -> Vec<Verdict> {
    let mut verdicts = vec![Verdict::Unproven; entries];
    let mut set = |id: &str, verdict| {
        if let Some(place) = id.parse().ok().and_then(|position: usize| verdicts.get_mut(position)) {
            *place = verdict;
        }
    };
    for id in successful {
        set(id, Verdict::Done);
    }
    for entry in failed {
        set(entry.id(), of_entry(entry));
    }
    verdicts
}

fn of_entry(entry: &BatchResultErrorEntry) -> Verdict {
    match EntryVerdict::failed(entry.code(), entry.message()) {
        EntryVerdict::Refused(refusal) if is_beyond_limit(&refusal) => Verdict::BeyondLimit,
        EntryVerdict::Refused(_) => Verdict::ReceiptInvalid,
        _ => Verdict::Unproven,
    }
}

/// SQS words it "Value 43200 for parameter VisibilityTimeout is invalid. Reason: Total VisibilityTimeout for the message is
/// beyond the limit", with the code that it has for a stale receipt too.
fn is_beyond_limit(refusal: &Refusal) -> bool {
    refusal.text().contains("parameter VisibilityTimeout")
        || refusal.text().contains("Total VisibilityTimeout")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(id: &str, code: &str, text: &str) -> BatchResultErrorEntry {
        let entry = BatchResultErrorEntry::builder().id(id).code(code).message(text).sender_fault(true);
        entry.build().expect("id, code and fault are set")
    }

    #[test]
    fn only_what_a_response_names_is_proven() {
        assert_eq!(verdicts(2, [], &[]), [Verdict::Unproven; 2], "an empty response");
        assert_eq!(verdicts(2, ["1"], &[]), [Verdict::Unproven, Verdict::Done]);
        assert_eq!(verdicts(1, ["7", "zzz", ""], &[]), [Verdict::Unproven], "ids that nobody sent");
    }

    #[test]
    fn a_failed_entry_is_judged_by_its_own_code() {
        let stale = "Value x for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired.";
        let limit = "Value 43200 for parameter VisibilityTimeout is invalid. Reason: Total VisibilityTimeout for the message is beyond the limit [43200 seconds]";
        let failed = [
            failed("0", "ReceiptHandleIsInvalid", ""),
            failed("1", "InvalidParameterValue", stale),
            failed("2", "InvalidParameterValue", limit),
            failed("3", "InternalError", ""),
            failed("4", "OfTomorrow", ""),
        ];
        let read = verdicts(6, ["5", "4"], &failed);
        let expected = [
            Verdict::ReceiptInvalid,
            Verdict::ReceiptInvalid,
            Verdict::BeyondLimit,
            Verdict::Unproven,
            Verdict::Unproven,
            Verdict::Done,
        ];
        assert_eq!(read, expected);
    }
}
