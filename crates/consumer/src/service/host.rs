//! A service whose workers its user puts together: what the settings say, as builders.

use std::env;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use clap::builder::Resettable;
use clap::{Args, CommandFactory, FromArgMatches, Parser};
use futures_util::FutureExt;
use lifeline_health::Health;
use lifeline_messaging::args::{QueueArgs, TopicArgs};
use lifeline_messaging::client::Clients;
use lifeline_messaging::topology::QueueSpec;
use lifeline_service::Shutdown;
use lifeline_service::settings::Problems;

use crate::failure::{BoxError, panic_text};
use crate::service::args::{ConsumerConfig, WorkerArgs, WorkerConfig};
use crate::service::descriptors;
use crate::summary::Drained;
use crate::worker::{Builder, Worker};
use crate::workers::Workers;

/// What the setup of a service is given.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Host {
    /// Pulses, readiness and metrics, which the health server shows.
    pub health: Health,
    /// How AWS is reached.
    pub clients: Clients,
    /// The request to shut down.
    pub shutdown: Shutdown,
    config: ConsumerConfig,
    grace: std::time::Duration,
    /// Of workers with a name.
    problems: Arc<Mutex<Problems>>,
}

/// The settings of a worker with a name.
#[derive(Parser, Debug, Clone)]
struct Named {
    #[command(flatten)]
    worker: WorkerArgs,
    #[command(flatten)]
    topic: TopicArgs,
    #[command(flatten)]
    queue: QueueArgs,
}

impl Host {
    /// A worker as the settings describe it.
    pub fn worker(&self) -> Builder {
        self.builder(self.config.queue.clone(), self.config.worker.clone())
    }

    /// A worker with a name. Its settings are read from variables that begin with it: `INVOICES_MAX_IN_FLIGHT` for `invoices`; else
    /// from those without. Its queue is `INVOICES_QUEUE_NAME` or `INVOICES_QUEUE_URL`, else the one called as the worker. A bad value is an
    /// error when the worker is built, and ends the service with exit code 2 once its setup has returned.
    pub fn worker_named(&self, name: &str) -> Builder {
        let prefix: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
            .collect();
        let set = |variable: &str| env::var_os(variable).is_some_and(|value| !value.is_empty());
        let command = Named::command().no_binary_name(true).mut_args(|arg| {
            let Some(general) = arg.get_env().map(|name| name.to_string_lossy().into_owned()) else {
                return arg;
            };
            let own = format!("{prefix}_{general}");
            match &*general {
                _ if set(&own) => arg.env(own),
                "QUEUE_NAME" => arg.env(Resettable::Reset).default_value(name.to_owned()),
                "QUEUE_URL" => arg.env(Resettable::Reset),
                _ if set(&general) => arg,
                _ => arg.env(Resettable::Reset),
            }
        });
        let mut problems = Problems::default();
        let named = command
            .try_get_matches_from(std::iter::empty::<&str>())
            .and_then(|matches| Named::from_arg_matches(&matches));
        let checked = named.map(|Named { worker, topic, queue }| {
            let topic = topic.check(&self.config.access, &mut problems);
            (queue.check(topic, &mut problems), worker.check(&mut problems))
        });
        match (checked, problems.finish()) {
            (Ok((queue, worker)), Ok(_)) => self.builder(queue, worker).name(name),
            (Err(error), _) => self.worker().name(name).invalid(error.to_string()),
            (_, Err(problems)) => {
                let worker = self.worker().name(name).invalid(problems.to_string());
                self.problems.lock().unwrap_or_else(PoisonError::into_inner).merge(problems);
                worker
            }
        }
    }

    fn builder(&self, queue: QueueSpec, worker: WorkerConfig) -> Builder {
        Worker::on(queue)
            .clients(self.clients.clone())
            .pollers(worker.pollers)
            .max_in_flight(descriptors::fit(worker.max_in_flight))
            .wait_time(worker.wait_time)
            .envelope(worker.envelope)
            .handler_timeout(worker.handler_timeout)
            .shutdown_grace(self.grace)
            .lease_thread(true)
            .log_body(worker.log_body.unwrap_or_default())
            .health(&self.health)
    }
}

/// Runs the workers that `setup` puts together until the host shuts down and they have drained. The service is not ready before. A shutdown
/// that comes before ends the setup at its next await.
///
/// # Errors
/// That of `setup`, or of a worker; or no region is known.
///
/// # Cancel safety
/// That of [`Worker::run`].
pub async fn run_workers<A, E>(
    settings: A,
    config: ConsumerConfig,
    host: lifeline_service::Host,
    setup: impl AsyncFnOnce(A, Host) -> Result<Workers, E>,
) -> anyhow::Result<Drained>
where
    A: Args,
    E: Into<BoxError>,
{
    let clients = Clients::connect(&config.access).await?;
    tracing::info!(target: "consumer", account = clients.account, region = clients.region, endpoint = clients.endpoint, "starting");
    let ours = Host {
        health: host.health.clone(),
        clients,
        shutdown: host.shutdown.clone(),
        config,
        grace: host.grace,
        problems: Arc::default(),
    };
    let problems = Arc::clone(&ours.problems);
    // a panic may come before the first await too
    let setup = AssertUnwindSafe(async { setup(settings, ours).await }).catch_unwind();
    let workers = tokio::select! {
        biased;
        workers = setup => workers,
        () = host.shutdown.requested() => {
            tracing::info!(target: "consumer", "the setup was not done when the shutdown was requested; nothing was received");
            return Ok(Drained::default());
        }
    };
    // they explain what else went wrong
    std::mem::take(&mut *problems.lock().unwrap_or_else(PoisonError::into_inner)).finish()?;
    let workers = workers
        .map_err(|panic| anyhow::anyhow!("the setup panicked: {}", panic_text(&*panic)))?
        .map_err(|error| anyhow::anyhow!(error.into()).context("the setup failed"))?;
    host.started();
    Ok(workers.run(host.shutdown.requested()).await?)
}
