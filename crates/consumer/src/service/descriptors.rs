//! File descriptors: a limit that fits the messages in flight.
//!
//! A handler may need a descriptor for each message, as `HANDLER=http` does. Where they run out, connections fail for no
//! fault of the messages, so the limit is raised, or fewer messages are taken.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What the service itself needs: connections to AWS, the health server, log and files.
const OWN: u64 = 64;

/// Raises the soft limit as far as `messages` in flight need and the hard one allows. How many may be in flight.
pub(crate) fn fit(messages: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let Fit { raise_to, messages: fitting } = decide(messages, limit.current, limit.maximum);
    if let Some(soft) = raise_to
        && let Err(error) =
            setrlimit(Resource::Nofile, Rlimit { current: Some(soft), maximum: limit.maximum })
    {
        tracing::warn!(target: "consumer", %error, "the limit of open files could not be raised");
        return decide(messages, limit.current, limit.current).messages;
    }
    if fitting < messages {
        tracing::warn!(target: "consumer", max_in_flight = messages, open_files = limit.maximum,
            "MAX_IN_FLIGHT exceeds the limit of open files; using {fitting}: raise the limit (ulimit -Hn, LimitNOFILE) or lower MAX_IN_FLIGHT");
    }
    fitting
}

#[derive(Debug, PartialEq, Eq)]
struct Fit {
    raise_to: Option<u64>,
    messages: usize,
}

/// `None` is no limit.
fn decide(messages: usize, soft: Option<u64>, hard: Option<u64>) -> Fit {
    let needed = u64::try_from(messages).unwrap_or(u64::MAX).saturating_add(OWN);
    let Some(soft) = soft.filter(|soft| *soft < needed) else { return Fit { raise_to: None, messages } };
    let reached = hard.map_or(needed, |hard| needed.min(hard));
    let fitting = usize::try_from(reached.saturating_sub(OWN)).unwrap_or(usize::MAX).max(1);
    Fit { raise_to: (reached > soft).then_some(reached), messages: messages.min(fitting) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_and_if_that_is_not_enough_fewer_messages_are_taken() {
        let fit = |raise_to, messages| Fit { raise_to, messages };
        assert_eq!(decide(64, Some(1024), Some(4096)), fit(None, 64));
        assert_eq!(decide(2000, Some(1024), Some(4096)), fit(Some(2064), 2000));
        assert_eq!(decide(2000, Some(1024), None), fit(Some(2064), 2000));
        assert_eq!(decide(256, Some(128), Some(128)), fit(None, 64));
        assert_eq!(decide(10_000, Some(1024), Some(4096)), fit(Some(4096), 4032));
        assert_eq!(decide(5, Some(10), Some(10)), fit(None, 1));
        assert_eq!(decide(usize::MAX, None, None), fit(None, usize::MAX));
    }
}
