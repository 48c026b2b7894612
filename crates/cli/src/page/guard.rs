//! Keeps other pages and other users of this machine out: the token, and that a request comes from the page itself.

use anyhow::anyhow;
use http::{HeaderMap, header};

/// The header that carries the token. No other page may send it without the permission that is never given.
const TOKEN: &str = "x-lifeline-token";

/// What a request must know.
pub(super) struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(***)")
    }
}

impl Token {
    /// # Errors
    /// The system has no random numbers.
    pub(super) fn random() -> anyhow::Result<Self> {
        Ok(Self(random()?))
    }

    pub(super) fn text(&self) -> &str {
        &self.0
    }

    /// Compares all of it, so that the time tells nothing.
    fn is(&self, text: &str) -> bool {
        let differences =
            self.0.bytes().zip(text.bytes()).fold(0, |all, (ours, theirs)| all | (ours ^ theirs));
        self.0.len() == text.len() && differences == 0
    }

    /// Why a request is refused; `None` lets it pass. Its `Host` and `Origin` are of this machine already.
    pub(super) fn refuses(&self, headers: &HeaderMap) -> Option<&'static str> {
        let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
        let origin =
            text(header::ORIGIN).map(|origin| origin.split_once("://").map_or(origin, |(_, host)| host));
        if origin.is_some() && origin != text(header::HOST) {
            return Some("requests of other pages are not accepted (Origin)");
        }
        let given = text(header::HeaderName::from_static(TOKEN));
        match given {
            Some(given) if self.is(given) => None,
            Some(given) if !given.is_empty() => {
                Some("the token is not that of this process; open the URL that lifeline prints")
            }
            _ => Some("the token is missing; open the URL that lifeline prints, with all after the #"),
        }
    }
}

/// 96 bits, as 24 hexadecimal digits: the page's URL fits into a line of a terminal.
pub(super) fn random() -> anyhow::Result<String> {
    let mut bytes = [0; 16];
    getrandom::getrandom(&mut bytes[..12])
        .map_err(|error| anyhow!("no random numbers for the page's token: {error}"))?;
    Ok(format!("{:024x}", u128::from_le_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_page_itself_with_its_token_passes() {
        let token = Token::random().unwrap();
        let refused = |host: &str, origin: Option<&str>, given: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, origin.parse().unwrap());
            }
            if let Some(given) = given {
                headers.insert(TOKEN, given.parse().unwrap());
            }
            token.refuses(&headers).unwrap_or_default()
        };
        let (host, right) = ("127.0.0.1:4566", Some(token.text()));
        assert_eq!(refused(host, None, right), "");
        assert_eq!(refused(host, Some("http://127.0.0.1:4566"), right), "");
        assert!(refused(host, Some("http://127.0.0.1:3000"), right).contains("Origin"), "another port");
        assert!(refused(host, Some("null"), right).contains("Origin"));
        assert!(refused(host, None, None).contains("missing"));
        for wrong in ["0", &token.text()[1..], &format!("{}0", token.text())] {
            assert!(refused(host, None, Some(wrong)).contains("not that of this process"), "{wrong}");
        }
    }
}
