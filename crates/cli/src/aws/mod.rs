//! SNS and SQS in this process, for `lifeline up`, `lifeline aws` and tests.
//!
//! Topics and queues are rustack's (`rustack-sns-core`, `rustack-sqs-core`); this module composes them into one
//! endpoint, as its own command line does, and puts a thin layer around them for what they lack: raw delivery of
//! messages with attributes, binary attributes in the envelope, envelopes beyond rustack's 256 KiB, SNS' refusals
//! (empty messages, batches too long), queue URLs by the name the client called, moving dead letters back, and a
//! bound on what is held. Credentials and signatures are not looked at. Nothing is written to disk.
//!
//! Not here: SQS' old query protocol, `AWSTraceHeader`, message groups on standard queues, and other services.

mod backlog;
mod delivery;
mod gateway;
mod queues;
mod topics;

use std::{future::Future, io, net::SocketAddr, sync::Arc};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustack_sns_core::{config::SnsConfig, provider::RustackSns};
use rustack_sqs_core::{config::SqsConfig, provider::RustackSqs};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use self::{backlog::Backlog, delivery::Delivery, gateway::Gateway};

/// The host of every URL inside rustack; on the way out it becomes the one that the client called.
const INNER_HOST: &str = "queues.internal";

/// Why the endpoint could not listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Something else listens there.
    #[error(
        "cannot listen on {addr}: the port is in use, perhaps by LocalStack, moto or another lifeline; \
         stop that, or choose another with --listen (--listen 127.0.0.1:0 takes a free one)"
    )]
    InUse {
        /// The address that was asked for.
        addr: SocketAddr,
    },
    /// The system refused the address.
    #[error("cannot listen on {addr}: {source}; choose an address of this machine with --listen")]
    Refused {
        /// The address that was asked for.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// An SNS and SQS endpoint that listens, and answers once it is served.
#[derive(Debug)]
pub struct EmbeddedAws {
    listener: TcpListener,
    local_addr: SocketAddr,
    backlog: Option<usize>,
}

impl EmbeddedAws {
    /// Listens on `addr`; port 0 takes a free one. Connections wait until [`EmbeddedAws::serve`].
    ///
    /// # Errors
    ///
    /// When the port is in use or the address is not this machine's.
    pub async fn bind(addr: SocketAddr) -> Result<Self, BindError> {
        let bound = async {
            let listener = TcpListener::bind(addr).await?;
            let local_addr = listener.local_addr()?;
            Ok(Self { listener, local_addr, backlog: None })
        };
        bound.await.map_err(|source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse { addr },
            _ => BindError::Refused { addr, source },
        })
    }

    /// Holds back publishing while the queues hold about this many bytes that came through topics, so that a fast
    /// producer cannot fill the memory. Without it a backlog may grow as it does on AWS.
    #[must_use]
    pub fn backlog(mut self, bytes: usize) -> Self {
        self.backlog = Some(bytes);
        self
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// For `AWS_ENDPOINT_URL` of a client on this machine.
    #[must_use]
    pub fn url(&self) -> String {
        if self.local_addr.ip().is_unspecified() {
            return format!("http://127.0.0.1:{}", self.local_addr.port());
        }
        format!("http://{}", self.local_addr)
    }

    /// Answers until `shutdown` completes, then closes every connection and forgets everything.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future is the same as a shutdown.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let gateway = Arc::new(compose(self.backlog));
        let mut connections = JoinSet::new();
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => return,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => drop(connections.spawn(connection(stream, Arc::clone(&gateway)))),
                    Err(error) => {
                        // Out of file descriptors, or the peer is gone already: neither ends the endpoint.
                        tracing::warn!(%error, "could not accept a connection");
                        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    }
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

fn compose(limit: Option<usize>) -> Gateway {
    let sqs_config = SqsConfig { host: INNER_HOST.into(), port: 80, ..SqsConfig::default() };
    let sns_config = SnsConfig { host: INNER_HOST.into(), port: 80, ..SnsConfig::default() };
    let backlog = Arc::new(Backlog::new(limit));
    let sqs = Arc::new(RustackSqs::new(sqs_config));
    let delivery = Arc::new(Delivery::new(Arc::clone(&sqs), Arc::clone(&backlog)));
    let sns = Arc::new(RustackSns::new(sns_config, Arc::clone(&delivery) as _));
    Gateway::new(queues::Queues::new(sqs, Arc::clone(&backlog)), topics::Topics::new(sns, delivery, backlog))
}

async fn connection(stream: TcpStream, gateway: Arc<Gateway>) {
    stream.set_nodelay(true).ok();
    let service = service_fn(move |request| {
        let gateway = Arc::clone(&gateway);
        async move { Ok::<_, std::convert::Infallible>(gateway.answer(request).await) }
    });
    let served =
        http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended");
    }
}
