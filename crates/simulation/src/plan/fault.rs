//! What can go wrong in a run.

use std::fmt;
use std::time::Duration;

/// Something that goes wrong.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Since the start of the run.
    pub at: Duration,
    /// For how long; zero for what happens once.
    pub lasts: Duration,
    /// What.
    pub what: What,
    /// What its own dice are thrown from: without another fault it does the same.
    pub(crate) seed: u64,
}

/// What goes wrong.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum What {
    /// Calls are lost, late, cut off or answered by others.
    #[non_exhaustive]
    Network {
        /// Of which calls.
        of: Calls,
        /// Of whom: a number of a pod, or everybody.
        pod: Option<usize>,
        /// How.
        effect: Effect,
        /// How many of a thousand.
        per_mille: u32,
    },
    /// SQS and SNS answer, and something is wrong with single messages: a fault of the emulator's, in its own words.
    Emulator(String),
    /// What handlers depend on does not answer.
    DependencyDown,
    /// All processes are stopped for this long, then go on.
    Freeze(Duration),
    /// The machine of all processes is suspended for this long: their clocks stop, and AWS's goes on.
    Suspend(Duration),
    /// A pod is killed, and started again this much later.
    Kill(usize, Duration),
    /// The producer is killed, and started again this much later.
    KillProducer(Duration),
    /// Every pod is replaced, one after another.
    Rollout,
    /// So many pods more, or fewer.
    Scale(i32),
    /// Somebody deletes the queue. Where it is not provisioned, he makes it again this much later.
    DeleteQueue(Duration),
    /// Somebody overwrites the queue's policy; SNS discards what it may not deliver.
    BreakPolicy,
    /// Somebody sets the queue's visibility timeout.
    SetVisibility(u64),
}

/// Of which calls a fault of the network is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Calls {
    /// Every call.
    All,
    /// Receives.
    Receives,
    /// Deletes.
    Deletes,
    /// Changes of visibility.
    Leases,
    /// Publications.
    Publishes,
    /// Look-ups, and what creates what is missing.
    Topology,
}

/// What happens to a call on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect {
    /// It never arrives.
    LoseRequest,
    /// It has its effect, and the response never arrives.
    LoseResponse,
    /// It is refused.
    Refuse,
    /// The connection is reset after the call had its effect.
    ResetAfter,
    /// It arrives this much later.
    Late(Duration),
    /// The response arrives this much later.
    LateResponse(Duration),
    /// AWS asks for fewer calls.
    Throttle,
    /// AWS fails.
    ServerError,
    /// AWS does not let us.
    Deny,
    /// AWS says that the credentials have expired.
    Expired,
    /// What makes the call panics, and the task with it.
    Panic,
    /// A page of somebody else, with this status; after the call had its effect or instead.
    Page(u16, bool),
    /// The response arrives at this many bytes per second.
    Slow(u64),
    /// Half of the response arrives.
    Stall,
    /// Half of the response arrives, then the connection ends.
    Truncate,
    /// One entry of several is forgotten: it has no effect, and the response does not mention it.
    Forget,
    /// The response names an entry that nobody sent, instead of one that was.
    Misname,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Network { of, pod, effect, per_mille } => {
                write!(f, "{effect:?} for {per_mille} of 1,000 {of:?} calls of ")?;
                match pod {
                    Some(pod) => write!(f, "pod {pod}")?,
                    None => f.write_str("everybody")?,
                }
            }
            What::Emulator(fault) => write!(f, "{fault}")?,
            other => write!(f, "{other:?}")?,
        }
        if self.lasts > Duration::ZERO {
            write!(f, ", for {:?}", self.lasts)?;
        }
        Ok(())
    }
}
