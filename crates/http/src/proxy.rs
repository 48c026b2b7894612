//! Which proxy a request takes, by `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` as curl reads them.
//!
//! Link-local addresses never take one: they hand out a machine's credentials (instance metadata, Pod Identity), and a
//! proxy could only reach its own.

use std::net::IpAddr;

use hyper::Uri;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};

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

    /// The proxy for a request to this address, if it takes one.
    pub(crate) fn of(&self, to: &Uri) -> Option<Intercept> {
        if to.host().is_some_and(is_link_local) { None } else { self.0.intercept(to) }
    }
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
