//! Where the emulator listens, in words for those who start it: `lifeline aws`, and the endpoint inside `lifeline up`.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use lifeline_emulator::{Builder, Emulator};

use crate::args::Embedded;
use crate::page;

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
    /// The file of `--data` is of no use.
    #[error("the file of --data cannot be used: {0}")]
    Data(io::Error),
}

/// An emulator for a laptop or a cluster instead of a test: it keeps nothing of messages that were deleted, and a queue
/// may be purged or made again at once.
pub fn builder() -> Builder {
    Emulator::builder().journal(false).cooldowns(false)
}

/// Answers SNS and SQS at `addr` until the emulator is dropped; port 0 takes a free one.
///
/// # Errors
///
/// When the port is in use or the address is not this machine's.
pub async fn listen(builder: Builder, addr: SocketAddr) -> Result<Emulator, BindError> {
    builder.listen(addr).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse { addr },
        // what the system says of an address has a number
        _ if source.raw_os_error().is_none() => BindError::Data(source),
        _ => BindError::Refused { addr, source },
    })
}

/// `lifeline aws`: the emulator alone, until it is stopped.
///
/// # Errors
///
/// When it cannot listen.
pub async fn run(settings: Embedded, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let builder = builder().enforce_policies(settings.enforce_policies).memory_limit(settings.memory_limit);
    let builder = settings.faults.into_iter().fold(builder, Builder::fault);
    let builder = match settings.data {
        Some(file) => builder.data(file),
        None => builder,
    };
    let emulator = listen(builder, settings.listen).await?;
    let url = emulator.endpoint_url().unwrap_or_default();
    // a free port, or IPv4 alone, is not what was asked for
    let address = emulator.local_addr().unwrap_or(settings.listen);
    tracing::info!(target: "lifeline", "SNS and SQS at {address}; set AWS_ENDPOINT_URL={url}");
    if let Some(page) = page::serve(&emulator, |_| None)? {
        tracing::info!(target: "lifeline", "page: {page}");
    }
    stop.await;
    Ok(())
}
