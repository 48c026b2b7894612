//! The consumer as a service: handler, clients and worker, put together in a host.

use std::io;

use lifeline_messaging::client::Clients;
use lifeline_service::{Host, SUMMARY, Summary};

use crate::handler::Handler;
use crate::into_handler::IntoHandler;
use crate::service::args::{Config, ConsumerConfig};
use crate::service::descriptors;
use crate::service::handlers::{Configured, Drill};
use crate::summary::{Account, Drained};
use crate::worker::Worker;

/// Works with the configured handler until the host shuts down and the drain is over.
///
/// # Errors
/// The handler cannot be opened, or no region is known: nothing has been received then.
///
/// # Cancel safety
/// That of [`Worker::run`].
pub async fn run(mut config: Config, host: Host) -> anyhow::Result<Drained> {
    let handler = open_handler(&mut config).await?;
    run_handler(config.consumer, handler, host).await
}

/// The configured handler, for a program that puts its own around it and calls [`run_handler`]. Limits the messages in
/// flight to what the handler has file descriptors for.
///
/// # Errors
/// The handler cannot be opened.
pub async fn open_handler(config: &mut Config) -> io::Result<impl Handler + use<>> {
    let worker = &mut config.consumer.worker;
    worker.max_in_flight = descriptors::fit(worker.max_in_flight);
    let handler = Configured::open(&config.handler, worker.max_in_flight).await?;
    Ok(Drill { handler, hang_on: config.fault_hang.clone() })
}

/// [`run`] with your own handler.
///
/// # Errors
/// No region is known.
///
/// # Cancel safety
/// That of [`Worker::run`].
pub async fn run_handler<Form>(
    mut config: ConsumerConfig,
    handler: impl IntoHandler<Form>,
    host: Host,
) -> anyhow::Result<Drained> {
    config.worker.max_in_flight = descriptors::fit(config.worker.max_in_flight);
    work(config, handler, host).await
}

async fn work<Form>(
    config: ConsumerConfig,
    handler: impl IntoHandler<Form>,
    host: Host,
) -> anyhow::Result<Drained> {
    let ConsumerConfig { access, queue, provision_reason, worker } = config;
    // a source of credentials may take its time; nothing is received yet
    let clients = tokio::select! {
        biased;
        clients = Clients::connect(&access) => clients?,
        () = host.shutdown.requested() => return Ok(Drained { account: Account::default(), cancelled: 0 }),
    };
    tracing::info!(target: "consumer", account = clients.account, region = clients.region, endpoint = clients.endpoint,
        queue = queue.queue.name(), provision = queue.provision, reason = provision_reason, "starting");
    // unmet until the worker reports otherwise
    host.health.readiness.condition("topology");
    host.started();
    let worker = Worker::on(queue)
        .clients(clients)
        .pollers(worker.pollers)
        .max_in_flight(worker.max_in_flight)
        .wait_time(worker.wait_time)
        .envelope(worker.envelope)
        .handler_timeout(worker.handler_timeout)
        .shutdown_grace(host.grace)
        .lease_thread(true)
        .log_body(worker.log_body.unwrap_or_default())
        .health(&host.health);
    Ok(worker.run(handler, host.shutdown.requested()).await?)
}

impl Summary for Drained {
    fn log(&self) {
        let Account { received, deleted, retried, released, lost_lease } = self.account;
        tracing::info!(name: SUMMARY, target: "consumer", received, deleted, retried, released, lost_lease, "drained");
    }

    /// 1 if handlers were cancelled at the deadline.
    fn exit_code(&self) -> u8 {
        u8::from(self.cancelled > 0)
    }
}
