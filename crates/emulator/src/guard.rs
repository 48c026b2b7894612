//! Keeps web pages out: a browser on this machine must not be able to post to the emulator.
//!
//! A page of another site sends `Origin`, and one that rebinds its own name to 127.0.0.1 sends that name as `Host`.

use std::net::IpAddr;

use http::{
    HeaderMap, Uri,
    header::{self, HeaderName},
};

/// Why a request is refused; `None` lets it pass. `loopback` says that the emulator listens for this machine alone:
/// elsewhere its name is not known, and any `Host` will do.
pub(crate) fn refuses(uri: &Uri, headers: &HeaderMap, loopback: bool) -> Option<&'static str> {
    // All of them: which one of two is meant is anybody's guess.
    let any = |name: HeaderName, wrong: fn(&str) -> bool| {
        headers.get_all(name).iter().any(|value| wrong(value.to_str().unwrap_or("?")))
    };
    if any(header::ORIGIN, |origin| !is_local(origin.split_once("://").map_or(origin, |(_, host)| host))) {
        return Some("requests of web pages are not accepted (Origin)");
    }
    if any(HeaderName::from_static("sec-fetch-site"), |site| site == "cross-site") {
        return Some("requests of web pages are not accepted (Sec-Fetch-Site)");
    }
    let elsewhere = uri.host().is_some_and(|host| !is_local(host));
    if loopback && (elsewhere || any(header::HOST, |host| !is_local(host))) {
        return Some("the Host is not this machine; call 127.0.0.1, localhost or *.localhost");
    }
    None
}

/// Names that browsers and resolvers keep on this machine.
fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || name == "localhost.localstack.cloud"
        || name.ends_with(".localhost.localstack.cloud")
        // what containers call the machine that they run on; no public name ends so
        || name.ends_with(".internal")
        || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(headers: &[(&'static str, &'static str)], loopback: bool) -> bool {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), http::HeaderValue::from_static(value)));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value);
        }
        refuses(&Uri::from_static("/"), &map, loopback).is_some()
    }

    #[test]
    fn clients_pass_and_web_pages_do_not() {
        for host in [
            "127.0.0.1:4566",
            "localhost:4566",
            "[::1]:4566",
            "sqs.us-east-1.localhost.localstack.cloud:4566",
            "host.docker.internal:4566",
        ] {
            assert!(!refused(&[("host", host)], true), "{host}");
        }
        assert!(refused(&[("host", "evil.example:4566")], true), "rebound name");
        assert!(!refused(&[("host", "lifeline.default.svc:4566")], false), "in a cluster");
        for loopback in [true, false] {
            assert!(refused(&[("host", "localhost"), ("origin", "https://evil.example")], loopback));
            assert!(refused(&[("host", "localhost"), ("origin", "null")], loopback));
            assert!(refused(&[("host", "localhost"), ("sec-fetch-site", "cross-site")], loopback));
        }
        assert!(!refused(&[("host", "localhost"), ("origin", "http://localhost:3000")], true));
        assert!(refused(&[("host", "localhost"), ("host", "evil.example")], true), "the second of two");
        let absolute = Uri::from_static("http://evil.example/");
        assert!(refuses(&absolute, &HeaderMap::new(), true).is_some(), "it is the host for a proxy");
    }
}
