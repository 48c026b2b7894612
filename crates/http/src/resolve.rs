//! Looks up the addresses of a name.
//!
//! Kubernetes' `resolv.conf` has search domains and `ndots:5`, so a name with fewer than five dots is tried in each domain
//! first. musl gives up when one of these look-ups is answered by SERVFAIL, and waits when one is not answered at all,
//! although the name itself would resolve. AWS's names are absolute and are asked for as such. Any other name that has a
//! dot is asked for as absolute too if the usual look-up fails or takes longer than [`PATIENCE`].
//!
//! The same goes for the two families: musl finds nothing where AAAA is answered by NXDOMAIN, SERVFAIL or not at all,
//! although there is an IPv4 address. So each family is asked for by itself if both together fail or take too long.
//! `.ci/musl-dns` shows all of this with real DNS servers.

use std::collections::HashMap;
use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dns_lookup::{AddrFamily, AddrInfoHints, SockType, getaddrinfo};
use futures_util::FutureExt as _;
use futures_util::future::Shared;
use tokio::time::Instant;

/// How long a look-up runs before the next way is tried beside it.
const PATIENCE: Duration = Duration::from_secs(1);

/// The endings of AWS's own names, in all partitions.
const AWS: [&str; 4] = [".amazonaws.com", ".amazonaws.com.cn", ".api.aws", ".on.aws"];

/// The addresses of a name, as they come.
pub type Resolving = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Looks up names: the system's resolver, or a test's.
pub trait Resolve: Debug + Send + Sync {
    /// The addresses of `name`, which may end in a dot.
    fn resolve(&self, name: String) -> Resolving;
}

/// The system's resolver, on tokio's blocking threads. A look-up cannot be cancelled, and may hang for a minute: one that
/// began within [`PATIENCE`] is shared, so that a sick DNS does not take a thread for each connection that is wanted.
#[derive(Debug, Clone, Default)]
pub(crate) struct System(Arc<Mutex<HashMap<(String, Family), LookUp>>>);

/// `ai_family`; both if `None`.
type Family = Option<Version>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Version {
    V4,
    V6,
}

#[derive(Debug)]
struct LookUp {
    begun: Instant,
    found: Shared<Asking>,
}

type Asking = Pin<Box<dyn Future<Output = Result<Vec<IpAddr>, Arc<io::Error>>> + Send>>;

impl Resolve for System {
    fn resolve(&self, name: String) -> Resolving {
        let system = self.clone();
        Box::pin(async move {
            let look_up = |family| system.look_up(&name, family);
            let each = or_else(look_up(Some(Version::V4)), look_up(Some(Version::V6)));
            or_else(look_up(None), each).await
        })
    }
}

impl System {
    async fn look_up(&self, name: &str, family: Family) -> io::Result<Vec<IpAddr>> {
        let found = self.running(name.to_owned(), family);
        found.await.map_err(|error| io::Error::new(error.kind(), error.to_string()))
    }

    fn running(&self, name: String, family: Family) -> Shared<Asking> {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|_, it| it.begun.elapsed() < PATIENCE && it.found.peek().is_none());
        let begin = |name: String| {
            let task = tokio::task::spawn_blocking(move || ask(&name, family).map_err(Arc::new));
            let found: Asking =
                Box::pin(async { task.await.unwrap_or_else(|error| Err(Arc::new(error.into()))) });
            LookUp { begun: Instant::now(), found: found.shared() }
        };
        let entry = running.entry((name.clone(), family));
        entry.or_insert_with(|| begin(name)).found.clone()
    }
}

/// One call of `getaddrinfo`, which blocks.
fn ask(name: &str, family: Family) -> io::Result<Vec<IpAddr>> {
    let address = match family {
        None => 0,
        Some(Version::V4) => AddrFamily::Inet.into(),
        Some(Version::V6) => AddrFamily::Inet6.into(),
    };
    let hints = AddrInfoHints { address, socktype: SockType::Stream.into(), ..AddrInfoHints::default() };
    getaddrinfo(Some(name), None, Some(hints))?.map(|found| Ok(found?.sockaddr.ip())).collect()
}

/// The addresses of `host`: at least one.
///
/// # Errors
/// The host cannot be resolved; the error names it.
pub(crate) async fn addresses(resolver: &dyn Resolve, host: &str) -> io::Result<Vec<IpAddr>> {
    if let Ok(address) = host.trim_matches(['[', ']']).parse() {
        return Ok(vec![address]);
    }
    let failed = |error: io::Error| io::Error::new(error.kind(), format!("cannot resolve {host}: {error}"));
    look_up(resolver, host).await.and_then(at_least_one).map_err(failed)
}

async fn look_up(resolver: &dyn Resolve, host: &str) -> io::Result<Vec<IpAddr>> {
    // begun when it is awaited
    let look_up = |name: String| async move { resolver.resolve(name).await.and_then(at_least_one) };
    let (relative, absolute) = (look_up(host.to_owned()), look_up(format!("{host}.")));
    if host.ends_with('.') || !host.contains('.') {
        relative.await
    } else if AWS.iter().any(|ending| host.to_ascii_lowercase().ends_with(ending)) {
        // a zone of somebody's own for these names, without a root, is found as before
        or_else(absolute, relative).await
    } else {
        or_else(relative, absolute).await
    }
}

/// What `usual` finds. If it fails or takes longer than [`PATIENCE`], what either finds first; the error is `usual`'s.
async fn or_else(
    usual: impl Future<Output = io::Result<Vec<IpAddr>>>,
    other: impl Future<Output = io::Result<Vec<IpAddr>>>,
) -> io::Result<Vec<IpAddr>> {
    let (mut usual, mut other) = (pin!(usual), pin!(other));
    let done = match tokio::time::timeout(PATIENCE, &mut usual).await {
        Ok(done) => done,
        Err(_) => tokio::select! {
            biased;
            done = &mut usual => done,
            done = &mut other => return if done.is_ok() { done } else { usual.await },
        },
    };
    match done {
        Ok(found) => Ok(found),
        Err(error) => other.await.map_err(|_| error),
    }
}

fn at_least_one(found: Vec<IpAddr>) -> io::Result<Vec<IpAddr>> {
    if found.is_empty() { Err(io::ErrorKind::AddrNotAvailable.into()) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use tokio::time::Instant;

    const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

    /// How a resolver with search domains does on a name that is relative, and on one that ends in a dot.
    #[derive(Debug, Clone, Copy)]
    enum Does {
        Finds,
        Fails,
        Hangs,
    }

    #[derive(Debug)]
    struct Odd {
        relative: Does,
        absolute: Does,
    }

    impl Resolve for Odd {
        fn resolve(&self, name: String) -> Resolving {
            let does = if name.ends_with('.') { self.absolute } else { self.relative };
            Box::pin(async move {
                match does {
                    Does::Finds => Ok(vec![THERE]),
                    Does::Fails => Err(io::Error::other("Try again")),
                    Does::Hangs => std::future::pending().await,
                }
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_search_domain_that_fails_or_hangs_costs_at_most_a_second() {
        for (relative, within) in
            [(Does::Finds, Duration::ZERO), (Does::Fails, Duration::ZERO), (Does::Hangs, PATIENCE)]
        {
            let begun = Instant::now();
            let odd = Odd { relative, absolute: Does::Finds };
            assert_eq!(addresses(&odd, "collector.example.test").await.unwrap(), [THERE]);
            assert!(
                begun.elapsed() <= within + Duration::from_millis(5),
                "{relative:?}: {:?}",
                begun.elapsed()
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_names_of_aws_are_asked_for_as_absolute_first() {
        let begun = Instant::now();
        let odd = Odd { relative: Does::Hangs, absolute: Does::Finds };
        for host in
            ["sqs.eu-west-1.amazonaws.com", "SQS.cn-north-1.amazonaws.com.cn", "sqs.eu-west-1.api.aws"]
        {
            assert_eq!(addresses(&odd, host).await.unwrap(), [THERE], "{host}");
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        let private = Odd { relative: Does::Finds, absolute: Does::Fails };
        assert_eq!(addresses(&private, "sqs.eu-west-1.amazonaws.com").await.unwrap(), [THERE]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_of_the_cluster_goes_through_the_search_domains() {
        let odd = Odd { relative: Does::Finds, absolute: Does::Fails };
        for host in ["localstack", "localstack.lifeline.svc"] {
            assert_eq!(addresses(&odd, host).await.unwrap(), [THERE], "{host}");
        }
    }

    #[tokio::test]
    async fn a_look_up_that_runs_is_shared_and_one_that_ended_is_not() {
        let system = System::default();
        let running = |name: &str, family| system.running(name.to_owned(), family);
        let (first, second) = (running("localhost", None), running("localhost", None));
        assert!(first.ptr_eq(&second));
        assert!(!first.ptr_eq(&running("localhost", Some(Version::V4))));
        assert!(!first.ptr_eq(&running("localhost.", None)));
        first.clone().await.unwrap();
        assert!(!first.ptr_eq(&running("localhost", None)));
    }

    #[tokio::test]
    async fn each_family_is_asked_for_by_itself() {
        let loopback = ["127.0.0.1".parse::<IpAddr>().unwrap()];
        assert_eq!(System::default().look_up("127.0.0.1", Some(Version::V4)).await.unwrap(), loopback);
        System::default().look_up("127.0.0.1", Some(Version::V6)).await.unwrap_err();
    }

    #[tokio::test]
    async fn an_error_names_the_host() {
        let odd = Odd { relative: Does::Fails, absolute: Does::Fails };
        let error = addresses(&odd, "queue.example.test").await.unwrap_err();
        assert_eq!(error.to_string(), "cannot resolve queue.example.test: Try again");
    }

    #[tokio::test]
    async fn an_address_is_not_looked_up() {
        let odd = Odd { relative: Does::Fails, absolute: Does::Fails };
        assert_eq!(addresses(&odd, "[::1]").await.unwrap(), ["::1".parse::<IpAddr>().unwrap()]);
    }
}
