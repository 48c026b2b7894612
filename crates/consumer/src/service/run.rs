//! The consumer as a service: settings, health server, handler and worker put together. The binary and `lifeline up` call
//! it.

use std::future::Future;

use anyhow::Context as _;
use lifeline_health::Health;
use lifeline_messaging::client::Clients;

use crate::service::args::{HandlerKind, Settings};
use crate::service::handlers::{Configured, Drill};
use crate::summary::Drained;
use crate::worker::Worker;

/// Serves health and works until `shutdown` completes and the drain is over.
///
/// # Errors
/// The health server's port cannot be had, the handler cannot be opened, or no region is known: nothing has been received then.
///
/// # Cancel safety
/// As of [`Worker::run`].
pub async fn run(
    settings: Settings,
    health: Health,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<Drained> {
    run_behind(health.server(), settings, health, shutdown).await
}

/// [`run`] with a server of the caller's own, made of the same health: for one whose access log goes elsewhere than to
/// standard output.
///
/// # Errors
/// As [`run`].
///
/// # Cancel safety
/// As of [`Worker::run`].
pub async fn run_behind(
    server: lifeline_health::Builder,
    settings: Settings,
    health: Health,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<Drained> {
    // unmet until the worker says otherwise: the server answers before there is a worker
    health.readiness.condition("topology");
    let server = server.access_log(settings.access_log).listen(settings.health_addr)?;
    let Health { pulses, readiness, metrics } = health;
    let handler = Configured::open(&settings.handler, settings.max_in_flight).await?;
    let handler = Drill { handler, hang_on: settings.drill_hang.clone() };
    let clients = Clients::connect(&settings.access).await?;
    let systemd = lifeline_service::systemd::Notifier::from_env();
    let _watchdog = systemd.watch(&pulses).context("starting systemd's watchdog")?;
    tracing::info!(target: "consumer", version = env!("CARGO_PKG_VERSION"), health = %server.local_addr(),
        queue = settings.queue.queue.name(), region = clients.region, provision = settings.queue.provision, "starting");
    systemd.ready();
    let whole = settings.handler == HandlerKind::Log;
    let worker = Worker::builder(clients, settings.queue)
        .pollers(settings.pollers)
        .max_in_flight(settings.max_in_flight)
        .wait_time(settings.wait_time)
        .handler_timeout(settings.handler_timeout)
        .shutdown_grace(settings.grace)
        .log_body(if whole { usize::MAX } else { 1024 })
        .health(pulses, readiness, metrics);
    let drained = worker
        .run(handler, async {
            shutdown.await;
            systemd.stopping();
        })
        .await;
    Ok(drained)
}
