//! Which proxy a request takes, by `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` as curl reads them.
//!
//! Link-local addresses never take one: they hand out a machine's credentials (instance metadata, Pod Identity), and a
//! proxy could only reach its own.

use std::net::IpAddr;

use hyper::Uri;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};

/// The variables that name a proxy.
const VARIABLES: [&str; 6] =
    ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];

/// The proxies of one client.
#[derive(Debug)]
pub struct Proxies(Matcher);

impl Proxies {
    /// As the environment says.
    pub fn from_env() -> Self {
        Self(Matcher::from_env())
    }

    /// None, whatever the environment says.
    pub fn none() -> Self {
        Self(Matcher::builder().build())
    }

    /// As variables of these values would say; an empty one counts as not set.
    pub fn new(http: &str, https: &str, no: &str) -> Self {
        Self(Matcher::builder().http(http).https(https).no(no).build())
    }

    /// The variables of the environment that count for nothing, since they are no URL of a proxy that is supported, and
    /// their values. Requests go out directly then, which whoever set them should know.
    #[must_use]
    pub fn ignored_variables() -> Vec<(&'static str, String)> {
        let set = |name| Some((name, std::env::var(name).ok()?));
        VARIABLES.into_iter().filter_map(set).filter(|(_, value)| !is_proxy(value)).collect()
    }

    /// The proxy for a request to this address, if it takes one.
    pub(crate) fn of(&self, to: &Uri) -> Option<Intercept> {
        if to.host().is_some_and(is_link_local) {
            return None;
        }
        self.0.intercept(to).filter(|proxy| is_supported(proxy.uri()))
    }
}

/// Whether a variable's value is a proxy's URL, with or without `http://`, or empty.
fn is_proxy(value: &str) -> bool {
    let url = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
    value.is_empty() || url.parse().is_ok_and(|url| is_supported(&url))
}

fn is_supported(proxy: &Uri) -> bool {
    proxy.host().is_some_and(|host| !host.is_empty())
        && proxy.scheme_str().is_some_and(|scheme| ["http", "https", "socks5", "socks5h"].contains(&scheme))
}

fn is_link_local(host: &str) -> bool {
    match host.trim_matches(['[', ']']).parse() {
        Ok(IpAddr::V4(v4)) => v4.is_link_local(),
        // fd00:ec2::/32 is AWS's IPv6 counterpart of 169.254.169.254 and 169.254.170.23
        Ok(IpAddr::V6(v6)) => v6.is_unicast_link_local() || v6.segments()[..2] == [0xfd00, 0x0ec2],
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_hand_out_credentials_take_no_proxy() {
        let proxies = Proxies::new("http://proxy.test:3128", "http://proxy.test:3128", "");
        for address in [
            "http://169.254.169.254/latest",
            "http://169.254.170.23/v1",
            "http://[fd00:ec2::23]/v1/credentials",
        ] {
            assert!(proxies.of(&address.parse().unwrap()).is_none(), "{address}");
        }
        assert!(proxies.of(&"https://sqs.eu-west-1.amazonaws.com".parse().unwrap()).is_some());
    }

    #[test]
    fn what_is_no_proxy_is_known() {
        for proxy in
            ["", "proxy.test:3128", "http://me:pw@proxy.test", "https://[::1]:1/", "socks5h://p:1080"]
        {
            assert!(is_proxy(proxy), "{proxy}");
        }
        for other in ["http://[bad", "ftp://proxy.test", "socks4://p:1080", "http://", "a b", "on\n"] {
            assert!(!is_proxy(other), "{other}");
        }
        let proxies = Proxies::new("", "socks4://proxy.test:1080", "");
        assert!(proxies.of(&"https://sqs.eu-west-1.amazonaws.com".parse().unwrap()).is_none());
    }

    #[test]
    fn no_proxy_takes_names_endings_and_ranges() {
        let proxies =
            Proxies::new("http://p.test:1", "http://p.test:2", "localhost,.internal.test,10.0.0.0/8");
        for (address, proxied) in [
            ("http://localhost:4566", false),
            ("http://a.internal.test", false),
            ("http://10.1.2.3:8080", false),
            ("http://11.1.2.3:8080", true),
            ("https://sns.us-east-1.amazonaws.com", true),
        ] {
            assert_eq!(proxies.of(&address.parse().unwrap()).is_some(), proxied, "{address}");
        }
    }
}
