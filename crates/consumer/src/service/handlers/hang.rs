//! A drill: one message, named by `FAULT_HANG`, wedges the whole process, to see that its probe notices.
//!
//! It exists for nothing else, is off unless the variable is set, and does what a deadlock in a handler on every
//! thread would do: block the runtime, so that no pulse beats.

use lifeline_messaging::message::Message;

use crate::context::Context;
use crate::failure::Failure;
use crate::handler::Handler;

/// A handler behind the drill.
#[derive(Debug)]
pub(crate) struct Drill<H> {
    pub(crate) handler: H,
    pub(crate) hang_on: Option<String>,
}

impl<H: Handler> Handler for Drill<H> {
    async fn handle(&self, message: Message, context: Context) -> Result<(), Failure> {
        if self.hang_on.as_deref() == Some(&*message.body) && message.receive_count == 1 {
            tracing::error!(target: "consumer", message_id = %message.id, "FAULT_HANG: blocking every thread of the runtime");
            let threads = tokio::runtime::Handle::current().metrics().num_workers();
            for _ in 0..threads * 4 {
                #[allow(clippy::disallowed_methods, reason = "never to end is their purpose")]
                tokio::spawn(async { block_for_ever() });
            }
            block_for_ever();
        }
        self.handler.handle(message, context).await
    }
}

fn block_for_ever() {
    loop {
        std::thread::park();
    }
}
