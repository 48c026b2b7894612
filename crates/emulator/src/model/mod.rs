//! The model of SNS and SQS: synchronous, without I/O. Every call takes the time; all randomness comes from one seed.

pub(crate) mod admission;
pub(crate) mod arn;
pub(crate) mod attempts;
pub(crate) mod attribute;
pub(crate) mod changes;
pub(crate) mod deduplication;
pub(crate) mod delivery;
pub(crate) mod filter;
pub(crate) mod history;
pub(crate) mod lease;
pub(crate) mod message;
pub(crate) mod move_task;
pub(crate) mod moving;
pub(crate) mod notification;
pub(crate) mod order;
pub(crate) mod permission;
pub(crate) mod queue;
pub(crate) mod quota;
pub(crate) mod receipt;
pub(crate) mod receive;
pub(crate) mod redrive;
pub(crate) mod settings;
pub(crate) mod subscription;
pub(crate) mod topic;
pub(crate) mod world;
