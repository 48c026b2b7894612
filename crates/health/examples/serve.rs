//! Serves on 127.0.0.1:5000, or on the address given, until killed: for a look at it with curl.

use lifeline_health::{AccessLog, Metrics, Pulses, Readiness, Server};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:5000".to_owned());
    let (pulses, readiness) = (Pulses::new(), Readiness::new());
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION"), &pulses);
    let _server =
        Server::builder(pulses, readiness, metrics).access_log(AccessLog::default()).listen(addr.parse()?)?;
    loop {
        std::thread::park();
    }
}
