//! The binary `producer`: settings, health server, signals, and the service between them.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use lifeline_health::Health;
use lifeline_messaging::client::Clients;
use lifeline_producer::{Account, Service, Settings, settings};
use lifeline_service::{signals, systemd};

const BAD_SETTINGS: u8 = 2;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let asked = settings::PROGRAM.invocation();
    if asked.subcommand == Some("health") {
        return match Settings::health_address(&asked.values) {
            Ok(address) => lifeline_health::self_check("producer", address),
            Err(problems) => fail(BAD_SETTINGS, &problems),
        };
    }
    let settings = match Settings::read(&asked.values) {
        Ok(settings) => settings,
        Err(problems) => return fail(BAD_SETTINGS, &problems),
    };
    settings.log.clone().install();
    match run(settings) {
        Ok(account) => {
            account.say();
            ExitCode::from(account.exit_code())
        }
        Err(error) => fail(1, &format!("{error:#}")),
    }
}

fn run(settings: Settings) -> anyhow::Result<Account> {
    let (grace, exporting) = (settings.grace, settings.export.clone().install("producer")?);
    let health = Health::new(env!("CARGO_PKG_VERSION"));
    let server = health.server().access_log(settings.access_log).listen(settings.health)?;
    let stop = signals::on_signals(settings.grace).context("listening to signals")?;
    let systemd = systemd::Notifier::from_env();
    let watchdog = systemd.watch(&health.pulses).context("starting the watchdog")?;
    systemd.ready();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), health = %server.local_addr(), topic = settings.topic.name(), "producer");
    let runtime = settings.threads.runtime()?;
    let account = runtime.block_on(async {
        let clients = Clients::connect(&settings.access).await?;
        let service = Service::new(settings, clients, health);
        anyhow::Ok(service.run(stop.cancelled_owned()).await)
    });
    systemd.stopping();
    // the input's thread may be in a read that nobody ends, and nothing here waits for it
    runtime.shutdown_background();
    // health is told until nothing is left to do
    exporting.finish(grace);
    drop((watchdog, server));
    account
}

fn fail(code: u8, why: &dyn std::fmt::Display) -> ExitCode {
    writeln!(io::stderr(), "{why}").ok();
    ExitCode::from(code)
}
