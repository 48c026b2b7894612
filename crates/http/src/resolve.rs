//! Looks up the addresses of a name.
//!
//! Kubernetes' `resolv.conf` has search domains and `ndots:5`, so a name with fewer than five dots is tried in each domain
//! first. musl gives up when one of these look-ups is answered by SERVFAIL, and waits when one is not answered at all,
//! although the name itself would resolve. AWS's names are absolute and are asked for as such. Any other name that has a
//! dot is asked for as absolute too if the usual look-up fails or takes longer than [`PATIENCE`].

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::time::Duration;

/// How long a look-up through the search domains runs alone.
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

/// The system's resolver, on tokio's blocking threads.
#[derive(Debug)]
pub(crate) struct System;

impl Resolve for System {
    fn resolve(&self, name: String) -> Resolving {
        Box::pin(async move {
            Ok(tokio::net::lookup_host((name, 0)).await?.map(|address: SocketAddr| address.ip()).collect())
        })
    }
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
    let found = look_up(resolver, host).await.map_err(failed)?;
    if found.is_empty() {
        let text = format!("cannot resolve {host}: the name has no address");
        return Err(io::Error::new(io::ErrorKind::NotFound, text));
    }
    Ok(found)
}

async fn look_up(resolver: &dyn Resolve, host: &str) -> io::Result<Vec<IpAddr>> {
    let absolute = || resolver.resolve(format!("{host}."));
    if host.ends_with('.') || !host.contains('.') {
        return resolver.resolve(host.to_owned()).await;
    }
    if AWS.iter().any(|ending| host.to_ascii_lowercase().ends_with(ending)) {
        // a zone of somebody's own for these names, without a root, is found as before
        return match absolute().await {
            Ok(found) if !found.is_empty() => Ok(found),
            _ => resolver.resolve(host.to_owned()).await,
        };
    }
    let mut searched = resolver.resolve(host.to_owned());
    match tokio::time::timeout(PATIENCE, &mut searched).await {
        Ok(Ok(found)) if !found.is_empty() => Ok(found),
        Ok(failed) => absolute().await.or(failed),
        Err(_) => {
            let mut absolute = absolute();
            tokio::select! {
                biased;
                found = &mut searched => match found {
                    Ok(found) => Ok(found),
                    Err(error) => absolute.await.map_err(|_| error),
                },
                found = &mut absolute => match found {
                    Ok(found) => Ok(found),
                    Err(_) => searched.await,
                },
            }
        }
    }
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
