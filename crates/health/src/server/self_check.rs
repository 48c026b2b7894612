//! Asking a running server: the self-check for images without a shell or curl.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Bytes of an answer, at most.
const ANSWER_MAX: usize = 4 * 1024 * 1024;

/// What a server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status, 200 for healthy.
    pub status: u16,
    /// The body, as it came.
    pub body: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nothing listens at that address.
    #[error("nothing answers at {addr}: {source}; does the service run, and with this HEALTH_ADDR?")]
    Connect {
        /// Who was asked, with loopback in place of an unspecified address.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// It did not finish in time.
    #[error("{addr} did not answer within {timeout:?}")]
    Timeout {
        /// Who was asked.
        addr: SocketAddr,
        /// How long it had.
        timeout: Duration,
    },
    /// The connection broke.
    #[error("asking {addr} failed: {source}")]
    Broken {
        /// Who was asked.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Something else than an HTTP server listens there, or the path is none.
    #[error("{addr} is no health server: {what}")]
    NotHttp {
        /// Who was asked.
        addr: SocketAddr,
        /// What is wrong.
        what: &'static str,
    },
}

impl Answer {
    /// Whether the status is 2xx.
    pub fn is_ok(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// How long a self-check waits.
const SELF_CHECK: Duration = Duration::from_secs(3);

/// What `program health` does: asks the service at `addr` for `/health`, prints the body, and returns 0 for UP, else 1;
/// why there is no answer goes to standard error.
pub fn self_check(program: &str, addr: SocketAddr) -> ExitCode {
    match ask(addr, "/health", SELF_CHECK) {
        Ok(answer) => {
            // who asks may have gone: the exit code says it too
            writeln!(io::stdout(), "{}", answer.body).ok();
            ExitCode::from(u8::from(!answer.is_ok()))
        }
        Err(error) => {
            writeln!(io::stderr(), "{program} health: {error}").ok();
            ExitCode::FAILURE
        }
    }
}

/// Sends `GET path` to the server at `addr` and returns its answer, of 4 MiB at most. An unspecified address, as a
/// server listens on, is asked over loopback. Blocks for at most `timeout`, all in all.
///
/// # Errors
///
/// [`AskError`]. A status other than 200 is an answer, not an error.
///
/// ```
/// # use lifeline_health::{Pulses, Readiness, Metrics, Server};
/// # use std::time::Duration;
/// # let pulses = Pulses::new();
/// # let metrics = Metrics::new("1.0.0", &pulses);
/// # let server = Server::builder(pulses, Readiness::new(), metrics).listen("127.0.0.1:0".parse()?)?;
/// let answer = lifeline_health::ask(server.local_addr(), "/health", Duration::from_secs(1))?;
/// assert_eq!((answer.status, answer.body.as_str()), (200, r#"{ "status": "UP!" }"#));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn ask(addr: SocketAddr, path: &str, timeout: Duration) -> Result<Answer, AskError> {
    let addr = over_loopback(addr);
    if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(AskError::NotHttp { addr, what: "a path begins with / and has no spaces" });
    }
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => AskError::Timeout { addr, timeout },
        _ => AskError::Broken { addr, source },
    };
    let deadline = Instant::now() + timeout;
    let mut stream =
        TcpStream::connect_timeout(&addr, timeout.max(Duration::from_millis(1))).map_err(|source| {
            match source.kind() {
                io::ErrorKind::TimedOut => AskError::Timeout { addr, timeout },
                _ => AskError::Connect { addr, source },
            }
        })?;
    stream.set_write_timeout(Some(left(deadline).map_err(failed)?)).map_err(failed)?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {addr}\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(failed)?;

    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        stream.set_read_timeout(Some(left(deadline).map_err(failed)?)).map_err(failed)?;
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) if bytes.len() + read <= ANSWER_MAX => bytes.extend_from_slice(&chunk[..read]),
            Ok(_) => return Err(AskError::NotHttp { addr, what: "its answer is longer than 4 MiB" }),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
    parse(&bytes).ok_or(AskError::NotHttp { addr, what: "its answer is not HTTP" })
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => Some(Answer {
            status: response.code?,
            body: String::from_utf8_lossy(&bytes[length..]).into_owned(),
        }),
        _ => None,
    }
}

/// What is left until `deadline`; a socket refuses a timeout of zero.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

fn over_loopback(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        // `[::]` serves both families, and is IPv4 alone where there is no IPv6
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}
