//! Connects by TCP to the first address of a name that answers.
//!
//! The addresses are tried 250 ms apart, the families in turn, until one connects (RFC 8305, "Happy Eyeballs"). Those of
//! one family are shuffled, so that many clients spread over all of them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::net::TcpStream;

use crate::resolve::{Resolve, addresses};

/// How long an attempt runs alone before the next begins.
const HEAD_START: Duration = Duration::from_millis(250);

/// Connects to `host`, without a bound: the caller has one.
///
/// # Errors
/// No address could be found, or none connects: the last error, with the host.
pub(crate) async fn dial(resolver: &Arc<dyn Resolve>, host: &str, port: u16) -> io::Result<TcpStream> {
    let found = addresses(&**resolver, host).await?;
    let count = found.len();
    race(in_turn(found, fastrand::shuffle).into_iter().map(|ip| SocketAddr::new(ip, port))).await.map_err(
        |error| {
            let of = if count > 1 { format!(" ({count} addresses tried)") } else { String::new() };
            io::Error::new(error.kind(), format!("cannot connect to {host}:{port}{of}: {error}"))
        },
    )
}

/// IPv6 and IPv4 in turn, beginning with the family that the resolver put first.
fn in_turn(found: Vec<IpAddr>, shuffle: impl Fn(&mut [IpAddr])) -> Vec<IpAddr> {
    let first_is_v6 = found.first().is_some_and(IpAddr::is_ipv6);
    let (mut first, mut second): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|ip| ip.is_ipv6() == first_is_v6);
    shuffle(&mut first);
    shuffle(&mut second);
    let mut second = second.into_iter();
    let mut mixed: Vec<_> = first.into_iter().flat_map(|ip| [Some(ip), second.next()]).flatten().collect();
    mixed.extend(second);
    mixed
}

async fn race(addresses: impl Iterator<Item = SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = addresses.peekable();
    let mut attempts = FuturesUnordered::new();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no address");
    loop {
        if let Some(address) = waiting.next() {
            attempts.push(TcpStream::connect(address));
        }
        let next_starts = async {
            match waiting.peek() {
                Some(_) => tokio::time::sleep(HEAD_START).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            ended = attempts.next() => match ended {
                Some(Ok(connected)) => {
                    // a request is written whole: there is nothing to wait for
                    connected.set_nodelay(true).ok();
                    return Ok(connected);
                }
                Some(Err(error)) => last = error,
                None => return Err(last),
            },
            () = next_starts => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_families_take_turns() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let found = vec![ip("::1"), ip("::2"), ip("::3"), ip("10.0.0.1")];
        assert_eq!(in_turn(found, |_| ()), [ip("::1"), ip("10.0.0.1"), ip("::2"), ip("::3")]);
        let found = vec![ip("10.0.0.1"), ip("10.0.0.2"), ip("::1"), ip("::2"), ip("::3")];
        assert_eq!(in_turn(found, |_| ()), [ip("10.0.0.1"), ip("::1"), ip("10.0.0.2"), ip("::2"), ip("::3")]);
        assert!(in_turn(Vec::new(), |_| ()).is_empty());
    }
}
