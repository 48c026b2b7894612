//! Several workers of one process, which start and drain together.

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::pin::Pin;

use futures_util::future::join_all;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::control::WorkerHandle;
use crate::handler::BoxHandler;
use crate::into_handler::IntoHandler;
use crate::summary::Drained;
use crate::worker::{Builder, ConfigError};

/// Several workers with one shutdown.
///
/// ```no_run
/// use lifeline_consumer::{Failure, Json, Message, Worker, Workers};
///
/// async fn order(Json(id): Json<u64>) -> Result<(), Failure> {
///     println!("order {id}");
///     Ok(())
/// }
///
/// async fn invoice(message: Message) -> Result<(), Failure> {
///     println!("invoice {}", message.body);
///     Ok(())
/// }
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let workers = Workers::new()
///     .add(Worker::on("orders").name("orders"), order)
///     .add(Worker::on("invoices").name("invoices").max_in_flight(8), invoice);
/// let shutdown = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
/// let drained = workers.run(shutdown).await?;
/// println!("drained {}", drained.account);
/// # Ok(()) }
/// ```
#[derive(Default)]
#[must_use = "workers do nothing until they run"]
pub struct Workers {
    workers: Vec<(Builder, BoxHandler)>,
    after: Vec<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Workers {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a worker with its handler. Give each a [name](Builder::name).
    pub fn add<Form>(mut self, worker: Builder, handler: impl IntoHandler<Form>) -> Self {
        self.workers.push((worker, handler.boxed()));
        self
    }

    /// Work that is done once the last handler has ended, until the latest shutdown deadline: to close a publisher that handlers
    /// use, for instance.
    pub fn after(mut self, work: impl Future<Output = ()> + Send + 'static) -> Self {
        self.after.push(Box::pin(work));
        self
    }

    /// The handles of the workers, in the order in which they were added.
    pub fn handles(&self) -> Vec<WorkerHandle> {
        self.workers.iter().map(|(worker, _)| worker.handle()).collect()
    }

    /// Works until `shutdown` completes, or each worker was drained by its handle. All drain at the same time, each within its
    /// grace. The summary is the sum of theirs; the handles have the parts.
    ///
    /// # Errors
    /// Everything that is wrong with the workers; nothing was received then.
    ///
    /// # Cancel safety
    /// That of [`Worker::run`](crate::Worker::run).
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<Drained, ConfigError> {
        let mut error = ConfigError::default();
        let mut names = BTreeSet::new();
        let mut workers = Vec::new();
        for (builder, handler) in self.workers {
            let name = builder.name_or_empty().to_owned();
            if !names.insert(name.clone()) {
                error.add(format!("two workers have the name {name:?}; give each its own"));
            }
            match builder.build().await {
                Ok(worker) => workers.push((worker, handler)),
                Err(other) => error.merge(other),
            }
        }
        if workers.is_empty() && error.none().is_ok() {
            error.add("there are no workers; add one".to_owned());
        }
        error.none()?;
        let stop = CancellationToken::new();
        let grace = workers.iter().map(|(worker, _)| worker.grace()).max().unwrap_or_default();
        let work =
            workers.into_iter().map(|(worker, handler)| worker.run(handler, stop.clone().cancelled_owned()));
        let mut work = std::pin::pin!(join_all(work));
        let mut end = None;
        let drained = tokio::select! {
            biased;
            drained = &mut work => drained,
            () = shutdown => {
                end = Some(Instant::now() + grace);
                stop.cancel();
                work.await
            }
        };
        let end = end.unwrap_or_else(|| Instant::now() + grace);
        tokio::time::timeout_at(end, join_all(self.after)).await.ok();
        Ok(drained.into_iter().fold(Drained::default(), |sum, one| Drained {
            account: sum.account + one.account,
            cancelled: sum.cancelled + one.cancelled,
        }))
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.workers.iter().map(|(worker, _)| worker)).finish()
    }
}
