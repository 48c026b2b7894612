//! Which function answers which action.

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    action::Action,
    call::Call,
    error::Result,
    model::world::World,
    protocol::{Input, Output, Protocol},
    sns, sqs, sts,
};

/// Answers every action but `ReceiveMessage`, which may wait.
pub(crate) fn dispatch(
    world: &mut World,
    call: &Call,
    action: Action,
    input: Input,
    protocol: Protocol,
    tree: bool,
) -> Result<Output> {
    let to = To { world, call, input, protocol, tree };
    match action {
        Action::CreateQueue => to.run(sqs::queues::create),
        Action::DeleteQueue => to.run(sqs::queues::delete),
        Action::GetQueueUrl => to.run(sqs::queues::find),
        Action::ListQueues => to.run(sqs::queues::list),
        Action::PurgeQueue => to.run(sqs::queues::purge),
        Action::GetQueueAttributes => to.run(sqs::queues::attributes),
        Action::SetQueueAttributes => to.run(sqs::queues::set_attributes),
        Action::TagQueue => to.run(sqs::queues::tag),
        Action::UntagQueue => to.run(sqs::queues::untag),
        Action::ListQueueTags => to.run(sqs::queues::tags),
        Action::SqsAddPermission => to.run(sqs::permissions::add),
        Action::SqsRemovePermission => to.run(sqs::permissions::remove),
        Action::SendMessage => to.run(sqs::send::send),
        Action::SendMessageBatch => to.run(sqs::send::send_batch),
        Action::ReceiveMessage => to.run(|world, call, request| {
            let prepared = sqs::receive::prepare(world, call, request)?;
            sqs::receive::take(world, call, &prepared)
        }),
        Action::DeleteMessage => to.run(sqs::leases::delete),
        Action::DeleteMessageBatch => to.run(sqs::leases::delete_batch),
        Action::ChangeMessageVisibility => to.run(sqs::leases::change),
        Action::ChangeMessageVisibilityBatch => to.run(sqs::leases::change_batch),
        Action::ListDeadLetterSourceQueues => to.run(sqs::tasks::list_sources),
        Action::StartMessageMoveTask => to.run(sqs::tasks::start),
        Action::CancelMessageMoveTask => to.run(sqs::tasks::cancel),
        Action::ListMessageMoveTasks => to.run(sqs::tasks::list),
        Action::CreateTopic => to.run(sns::topics::create),
        Action::DeleteTopic => to.run(sns::topics::delete),
        Action::ListTopics => to.run(sns::topics::list),
        Action::GetTopicAttributes => to.run(sns::topics::attributes),
        Action::SetTopicAttributes => to.run(sns::topics::set_attributes),
        Action::GetDataProtectionPolicy => to.run(sns::topics::data_protection),
        Action::PutDataProtectionPolicy => to.run(sns::topics::set_data_protection),
        Action::ListTagsForResource => to.run(sns::tags::list),
        Action::TagResource => to.run(sns::tags::tag),
        Action::UntagResource => to.run(sns::tags::untag),
        Action::SnsAddPermission => to.run(sns::permissions::add),
        Action::SnsRemovePermission => to.run(sns::permissions::remove),
        Action::Subscribe => to.run(sns::subscriptions::subscribe),
        Action::Unsubscribe => to.run(sns::subscriptions::unsubscribe),
        Action::ConfirmSubscription => to.run(sns::subscriptions::confirm),
        Action::GetSubscriptionAttributes => to.run(sns::subscriptions::attributes),
        Action::SetSubscriptionAttributes => to.run(sns::subscriptions::set_attributes),
        Action::ListSubscriptions => to.run(sns::subscriptions::list),
        Action::ListSubscriptionsByTopic => to.run(sns::subscriptions::list_by_topic),
        Action::Publish => to.run(sns::publish::publish),
        Action::PublishBatch => to.run(sns::publish::publish_batch),
        Action::GetCallerIdentity => to.run(sts::identity),
    }
}

struct To<'a> {
    world: &'a mut World,
    call: &'a Call,
    input: Input,
    protocol: Protocol,
    tree: bool,
}

impl To<'_> {
    fn run<Q: DeserializeOwned, A: Serialize>(
        self,
        answer: impl FnOnce(&mut World, &Call, Q) -> Result<A>,
    ) -> Result<Output> {
        let request = self.input.read()?;
        let answer = answer(self.world, self.call, request)?;
        Output::write(self.protocol, self.tree, &answer)
    }
}
