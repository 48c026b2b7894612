//! systemd's watchdog sees what `/health` sees.
#![allow(clippy::unwrap_used)] // as in any test
#![cfg(unix)]

use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lifeline_health::Pulses;
use lifeline_service::systemd::Notifier;

const PATIENCE: Duration = Duration::from_secs(20);

struct Manager {
    socket: UnixDatagram,
    path: std::path::PathBuf,
}

impl Manager {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("health-{name}-{}", std::process::id()));
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, path }
    }

    fn hears(&self) -> String {
        let mut buffer = [0; 100];
        let read = self.socket.recv(&mut buffer).expect("a notification");
        String::from_utf8_lossy(&buffer[..read]).into_owned()
    }

    fn hears_nothing_for(&self, time: Duration) -> bool {
        self.socket.set_read_timeout(Some(time)).unwrap();
        let nothing = self.socket.recv(&mut [0; 100]).is_err();
        self.socket.set_read_timeout(Some(PATIENCE)).unwrap();
        nothing
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[test]
fn ready_and_stopping_are_told() {
    let manager = Manager::new("ready");
    let notifier = Notifier::to(manager.path.to_str().unwrap(), None).unwrap();
    notifier.ready();
    assert_eq!(manager.hears(), "READY=1");
    notifier.stopping();
    assert_eq!(manager.hears(), "STOPPING=1");
}

#[cfg(target_os = "linux")]
#[test]
fn an_abstract_socket_is_found() {
    use std::os::linux::net::SocketAddrExt;
    let name = format!("health-abstract-{}", std::process::id());
    let socket =
        UnixDatagram::bind_addr(&std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    Notifier::to(&format!("@{name}"), None).unwrap().ready();
    let mut buffer = [0; 100];
    let read = socket.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..read], b"READY=1");
}

#[test]
fn the_watchdog_is_fed_while_no_pulse_is_stale_and_not_a_moment_longer() {
    let manager = Manager::new("watchdog");
    let stuck = Arc::new(AtomicBool::new(false));
    let (start, bound) = (Instant::now(), Duration::from_secs(45));
    let pulses = Pulses::with_clock({
        let stuck = Arc::clone(&stuck);
        move || if stuck.load(Ordering::SeqCst) { start + bound * 2 } else { start }
    });
    let pulse = pulses.start("poller-1", bound);
    let period = Duration::from_millis(40);
    let watchdog =
        Notifier::to(manager.path.to_str().unwrap(), Some(period)).unwrap().watch(std::slice::from_ref(&pulses)).unwrap();
    for _ in 0..5 {
        assert_eq!(manager.hears(), "WATCHDOG=1");
    }
    stuck.store(true, Ordering::SeqCst);
    // One may have been on its way.
    while !manager.hears_nothing_for(period * 5) {}
    pulse.beat();
    assert_eq!(manager.hears(), "WATCHDOG=1");
    drop(watchdog);
    while !manager.hears_nothing_for(period * 5) {}
}

#[test]
fn a_manager_that_is_gone_or_full_stops_nothing() {
    let manager = Manager::new("full");
    let notifier = Notifier::to(manager.path.to_str().unwrap(), Some(Duration::from_millis(1))).unwrap();
    for _ in 0..10_000 {
        notifier.ready();
    }
    drop(manager);
    notifier.stopping();
    drop(notifier.watch(&[Pulses::new()]).unwrap());
}

#[test]
fn without_systemd_there_is_nothing_to_do() {
    // Cargo's test runner is not started with a notification socket.
    let notifier = Notifier::from_env();
    notifier.ready();
    notifier.stopping();
    drop(notifier.watch(&[Pulses::new()]).unwrap());
}
