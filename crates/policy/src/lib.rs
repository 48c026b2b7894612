//! Evaluates AWS resource policies: the policies of queues, topics and KMS keys, as IAM does, without calling AWS.
//!
//! ```
//! use lifeline_policy::{Decision, Policy, Request};
//!
//! let topic = "arn:aws:sns:eu-west-1:111122223333:orders";
//! let queue = "arn:aws:sqs:eu-west-1:111122223333:billing";
//! let policy = Policy::parse(&lifeline_policy::with_topic("", queue, topic).unwrap().unwrap()).unwrap();
//! assert!(policy.evaluate(&Request::sns_delivery(topic, queue)).is_allowed());
//! ```
//!
//! A decision has three values. *Cannot tell* is returned when the answer depends on something that the caller does not
//! know (a condition key, a policy variable) or that AWS leaves undefined; it is never guessed. Only the given policy is
//! read: an identity policy, a service control policy or a VPC endpoint policy may allow or deny in addition. For a
//! service principal such as SNS, which has no identity policy, the resource policy decides.
//!
//! | module | content |
//! | --- | --- |
//! | `document` | the policy as a typed document |
//! | `request` | who does what to which resource, with which condition keys |
//! | `decide` | principals, actions, resources, and the order of Deny and Allow |
//! | `condition` | condition operators |
//! | `value` | numbers, dates and IP ranges in conditions |
//! | `pattern` | `*` and `?`, and ARNs part by part |
//! | `truth` | three-valued logic |
//! | `topics` | the statement that Lifeline adds to a queue's policy |

mod condition;
mod decide;
mod document;
mod pattern;
mod request;
mod topics;
mod truth;
mod value;

pub use decide::{Decision, StatementId};
pub use document::{Malformed, Policy};
pub use request::{Principal, Request};
pub use topics::{TOPICS_SID, topics, topics_statement, with_topic};
