//! The two hot codecs, written in one pass in the place of the SDK's.

mod publish;
mod receive;

pub(crate) use publish::WriteInOnePass;
pub(crate) use receive::ReadInOnePass;

/// Counts calls of our codecs on this thread: an SDK that no longer uses the hook would be compared with itself.
#[cfg(test)]
mod used {
    use std::cell::Cell;

    thread_local!(static COUNT: Cell<u32> = const { Cell::new(0) });

    pub(super) fn note() {
        COUNT.set(COUNT.get() + 1);
    }

    /// How often since the last time it was asked.
    pub(super) fn take() -> u32 {
        COUNT.replace(0)
    }
}

#[cfg(test)]
mod tests {
    use aws_smithy_runtime_api::client::http::{
        HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
    };
    use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
    use aws_smithy_types::body::SdkBody;

    use super::used;
    use crate::client::{Access, Clients};

    /// Answers every call with an empty success.
    #[derive(Debug)]
    struct Empty;

    impl HttpConnector for Empty {
        fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
            let status = 200.try_into().expect("a status");
            HttpConnectorFuture::ready(Ok(HttpResponse::new(status, SdkBody::empty())))
        }
    }

    #[tokio::test]
    async fn the_sdk_calls_our_codecs() {
        let access = Access::local("http://nobody");
        let http = || http_client_fn(|_, _| SharedHttpConnector::new(Empty));
        let clients = Clients::connect_over(&access, http).await.expect("a region");

        clients.polls.receive_message().queue_url("http://nobody/1/q").send().await.expect("an empty answer");
        assert_eq!(used::take(), 1, "the SDK reads receives itself: its hook for deserializers has changed");

        clients.sqs.list_queues().send().await.ok();
        assert_eq!(used::take(), 0, "no other call is ours");

        clients.sns.publish_batch().topic_arn("arn:aws:sns:us-east-1:1:t").send().await.ok();
        assert_eq!(used::take(), 1, "the SDK writes batches itself: its hook for serializers has changed");
    }
}
