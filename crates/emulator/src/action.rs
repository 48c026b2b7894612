//! The actions of SNS, SQS and STS by name, and which of them are built.

macro_rules! actions {
    ($service:ident: $($name:ident),* $(,)?; $($rest:tt)*) => {
        actions!(@collect [$(($service $name))*] $($rest)*);
    };
    (@collect [$($done:tt)*] $service:ident: $($name:ident),* $(,)?; $($rest:tt)*) => {
        actions!(@collect [$($done)* $(($service $name))*] $($rest)*);
    };
    (@collect [$(($service:ident $name:ident))*]) => {
        /// An action of SNS, SQS or STS. Those that both services have carry their service's name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Action {
            $(
                #[allow(missing_docs, reason = "AWS's own name says it")]
                $name,
            )*
        }

        impl Action {
            /// Every action.
            pub(crate) const ALL: &[Self] = &[$(Self::$name),*];

            pub(crate) fn service(self) -> Service {
                match self {
                    $(Self::$name => Service::$service,)*
                }
            }

            fn text(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }
        }
    };
}

/// The service that an action belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Service {
    Sqs,
    Sns,
    Sts,
}

actions! {
    Sqs:
        SqsAddPermission, CancelMessageMoveTask, ChangeMessageVisibility, ChangeMessageVisibilityBatch, CreateQueue,
        DeleteMessage, DeleteMessageBatch, DeleteQueue, GetQueueAttributes, GetQueueUrl, ListDeadLetterSourceQueues,
        ListMessageMoveTasks, ListQueueTags, ListQueues, PurgeQueue, ReceiveMessage, SqsRemovePermission, SendMessage,
        SendMessageBatch, SetQueueAttributes, StartMessageMoveTask, TagQueue, UntagQueue;
    Sns:
        SnsAddPermission, ConfirmSubscription, CreateTopic, DeleteTopic, GetDataProtectionPolicy,
        GetSubscriptionAttributes, GetTopicAttributes, ListSubscriptions, ListSubscriptionsByTopic,
        ListTagsForResource, ListTopics, Publish, PublishBatch, PutDataProtectionPolicy, SnsRemovePermission,
        SetSubscriptionAttributes, SetTopicAttributes, Subscribe, TagResource, Unsubscribe, UntagResource;
    Sts:
        GetCallerIdentity;
}

impl Action {
    /// AWS's name of the action, as it stands in requests.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SqsAddPermission | Self::SnsAddPermission => "AddPermission",
            Self::SqsRemovePermission | Self::SnsRemovePermission => "RemovePermission",
            other => other.text(),
        }
    }

    /// The action of a service by AWS's name; `None` for what is not built.
    pub(crate) fn find(service: Service, name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|action| action.service() == service && action.name() == name)
    }

    /// The actions with this name, of any service.
    pub(crate) fn named(name: &str) -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(move |action| action.name() == name || action.text() == name)
    }

    /// Whether it may change something other than messages.
    pub(crate) fn changes_topology(self) -> bool {
        let reads = ["Get", "List"].iter().any(|verb| self.name().starts_with(verb));
        let of_messages = matches!(
            self,
            Self::SendMessage
                | Self::SendMessageBatch
                | Self::ReceiveMessage
                | Self::DeleteMessage
                | Self::DeleteMessageBatch
                | Self::ChangeMessageVisibility
                | Self::ChangeMessageVisibilityBatch
                | Self::Publish
                | Self::PublishBatch
        );
        !reads && !of_messages
    }

    /// Whether SNS has the action though it is not built here.
    pub(crate) fn is_unbuilt(name: &str) -> bool {
        const OTHERS: [&str; 21] = [
            "CheckIfPhoneNumberIsOptedOut",
            "CreatePlatformApplication",
            "CreatePlatformEndpoint",
            "CreateSMSSandboxPhoneNumber",
            "DeleteEndpoint",
            "DeletePlatformApplication",
            "DeleteSMSSandboxPhoneNumber",
            "GetEndpointAttributes",
            "GetPlatformApplicationAttributes",
            "GetSMSAttributes",
            "GetSMSSandboxAccountStatus",
            "ListEndpointsByPlatformApplication",
            "ListOriginationNumbers",
            "ListPhoneNumbersOptedOut",
            "ListPlatformApplications",
            "ListSMSSandboxPhoneNumbers",
            "OptInPhoneNumber",
            "SetEndpointAttributes",
            "SetPlatformApplicationAttributes",
            "SetSMSAttributes",
            "VerifySMSSandboxPhoneNumber",
        ];
        OTHERS.contains(&name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_found_by_aws_names_within_their_service() {
        assert_eq!(Action::find(Service::Sqs, "AddPermission"), Some(Action::SqsAddPermission));
        assert_eq!(Action::find(Service::Sns, "AddPermission"), Some(Action::SnsAddPermission));
        assert_eq!(Action::find(Service::Sns, "SendMessage"), None);
        assert_eq!(Action::named("AddPermission").count(), 2);
        assert_eq!(Action::ALL.len(), 45);
    }
}
