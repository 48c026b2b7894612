//! Reading a request's head from bytes that nobody vouches for.
//!
//! The gate calls [`read`] with what a client has sent so far. Nothing of it reaches tiny_http: what passes is a
//! [`Head`], from which the gate writes a request of its own.

/// Bytes of a request line and its headers, at most.
pub(crate) const HEAD_MAX: usize = 8 * 1024;

/// Headers of a request, at most; a browser sends about twenty.
const HEADERS_MAX: usize = 64;

/// What the bytes so far amount to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// A proper beginning; more must come.
    Partial,
    /// A whole head, which took this many bytes.
    Whole(Head, usize),
    /// No request of ours; the connection cannot go on, since nobody knows where the next one would begin.
    Refused(Refusal),
}

/// A request as far as this server cares.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) method: String,
    /// The path without query, scheme and host, in printable ASCII without spaces.
    pub(crate) path: String,
    /// 0 or 1, of HTTP/1.x.
    pub(crate) minor: u8,
    pub(crate) keep_alive: bool,
}

/// Why a request goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// 400
    Malformed,
    /// 408
    TooSlow,
    /// 413: no path here takes a body, so none is read.
    Body,
    /// 431
    TooLong,
    /// 500: tiny_http is gone.
    Broken,
    /// 505
    Version,
}

impl Refusal {
    pub(crate) fn status(self) -> (u16, &'static str, &'static str) {
        match self {
            Refusal::Malformed => (400, "Bad Request", "not an HTTP request"),
            Refusal::TooSlow => (408, "Request Timeout", "the request took too long to arrive"),
            Refusal::Body => (413, "Content Too Large", "requests with a body are not taken"),
            Refusal::TooLong => (431, "Request Header Fields Too Large", "at most 8 KiB and 64 headers"),
            Refusal::Broken => (500, "Internal Server Error", "the server behind is gone"),
            Refusal::Version => (505, "HTTP Version Not Supported", "HTTP/1.0 and HTTP/1.1 only"),
        }
    }
}

/// Reads the head that `bytes` begin with. Linear in their number, of which there are at most [`HEAD_MAX`].
pub(crate) fn read(bytes: &[u8]) -> Read {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => match head(&request) {
            Ok(head) => Read::Whole(head, length),
            Err(refusal) => Read::Refused(refusal),
        },
        Ok(httparse::Status::Partial) if bytes.len() >= HEAD_MAX => Read::Refused(Refusal::TooLong),
        Ok(httparse::Status::Partial) => Read::Partial,
        Err(httparse::Error::TooManyHeaders) => Read::Refused(Refusal::TooLong),
        Err(httparse::Error::Version) => Read::Refused(Refusal::Version),
        Err(_) => Read::Refused(Refusal::Malformed),
    }
}

fn head(request: &httparse::Request<'_, '_>) -> Result<Head, Refusal> {
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(Refusal::Malformed);
    };
    let mut keep_alive = minor == 1;
    let mut length = None;
    for header in request.headers.iter() {
        let name = header.name;
        if name.eq_ignore_ascii_case("connection") {
            for token in header.value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
                if token.eq_ignore_ascii_case(b"close") {
                    keep_alive = false;
                } else if token.eq_ignore_ascii_case(b"keep-alive") && minor == 0 {
                    keep_alive = true;
                }
            }
        } else if name.eq_ignore_ascii_case("content-length") {
            let new = content_length(header.value).ok_or(Refusal::Malformed)?;
            // Two lengths are how one request is smuggled inside another.
            if length.replace(new).is_some_and(|old| old != new) {
                return Err(Refusal::Malformed);
            }
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(Refusal::Body);
        }
    }
    if length.is_some_and(|length| length > 0) {
        return Err(Refusal::Body);
    }
    Ok(Head { method: method.to_owned(), path: path(target), minor, keep_alive })
}

fn content_length(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii();
    // `parse` would take a sign.
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The path of a target in origin form (`/health?x`) or absolute form (`http://host/health`).
fn path(target: &str) -> String {
    let path = match target.split_once("://") {
        Some((scheme, rest)) if scheme.chars().all(|c| c.is_ascii_alphanumeric()) => {
            rest.find('/').map_or("/", |slash| &rest[slash..])
        }
        _ => target,
    };
    let path = match path.split(['?', '#']).next() {
        None | Some("") => "/",
        Some(path) => path,
    };
    path.chars().map(|c| if c.is_ascii_graphic() { c } else { '?' }).collect()
}

/// The request line among `bytes`, as the client wrote it: the access log shows also what was refused.
pub(crate) fn request_line(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|byte| !b"\r\n".contains(byte)).unwrap_or(bytes.len());
    let line = bytes[start..].split(|&byte| byte == b'\n').next().unwrap_or_default();
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn whole(bytes: &[u8]) -> (Head, usize) {
        match read(bytes) {
            Read::Whole(head, length) => (head, length),
            other => panic!("{other:?} for {:?}", String::from_utf8_lossy(bytes)),
        }
    }

    #[test]
    fn a_head_says_method_path_and_whether_to_stay() {
        for (bytes, method, path, keep_alive) in [
            (&b"GET /health HTTP/1.1\r\n\r\n"[..], "GET", "/health", true),
            (b"GET /health HTTP/1.0\r\n\r\n", "GET", "/health", false),
            (b"GET /health HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "GET", "/health", true),
            (b"HEAD /ready?a=b HTTP/1.1\r\nconnection: foo, CLOSE\r\n\r\n", "HEAD", "/ready", false),
            (b"\r\nGET http://pod:5000/health HTTP/1.1\nhost: x\n\n", "GET", "/health", true),
            (b"GET http://pod HTTP/1.1\r\n\r\n", "GET", "/", true),
            (b"OPTIONS * HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "OPTIONS", "*", true),
        ] {
            let (head, length) = whole(bytes);
            assert_eq!(
                (head.method.as_str(), head.path.as_str(), head.keep_alive),
                (method, path, keep_alive)
            );
            assert_eq!(length, bytes.len());
        }
    }

    #[test]
    fn bodies_are_refused_before_they_are_read() {
        for (header, refusal) in [
            ("Content-Length: 1", Refusal::Body),
            ("Content-Length: 1000000000000", Refusal::Body),
            ("Transfer-Encoding: chunked", Refusal::Body),
            ("Content-Length: -1", Refusal::Malformed),
            ("Content-Length: +5", Refusal::Malformed),
            ("Content-Length: ", Refusal::Malformed),
            ("Content-Length: 99999999999999999999999", Refusal::Malformed),
            ("Content-Length: 0\r\nContent-Length: 5", Refusal::Malformed),
        ] {
            let bytes = format!("POST /health HTTP/1.1\r\n{header}\r\n\r\n");
            assert_eq!(read(bytes.as_bytes()), Read::Refused(refusal), "{header}");
        }
    }

    #[test]
    fn what_is_no_request_is_refused_at_once() {
        for (bytes, refusal) in [
            (&b"\x16\x03\x01\x02\x00\x01\x00"[..], Refusal::Malformed), // a TLS hello
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Refusal::Version),
            (b"GET /health\r\n", Refusal::Malformed),
            (b"GET /health HTTP/1.1\r\nno colon\r\n\r\n", Refusal::Malformed),
            (b"GET /health HTTP/1.1\r\nTransfer-Encoding : chunked\r\n\r\n", Refusal::Malformed),
        ] {
            assert_eq!(read(bytes), Read::Refused(refusal), "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn a_head_of_more_than_8_kib_or_64_headers_is_refused() {
        let mut long = b"GET /health HTTP/1.1\r\nx: ".to_vec();
        long.resize(HEAD_MAX - 1, b'x');
        assert_eq!(read(&long), Read::Partial);
        long.push(b'x');
        assert_eq!(read(&long), Read::Refused(Refusal::TooLong));
        let many = format!("GET /health HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(65));
        assert_eq!(read(many.as_bytes()), Read::Refused(Refusal::TooLong));
    }

    #[test]
    fn the_line_of_the_log_is_the_first_that_is_not_empty() {
        assert_eq!(request_line(b"\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n"), b"GET / HTTP/1.1");
        assert_eq!(request_line(b"GET / HT"), b"GET / HT");
        assert_eq!(request_line(b""), b"");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic_and_pass_only_as_plain_words(
            bytes in prop::collection::vec(any::<u8>(), 0..2048)
        ) {
            check(&bytes);
        }

        #[test]
        fn bytes_that_look_like_requests_do_no_harm_either(
            bytes in "(GET|HEAD|POST|[A-Z]{0,9}|\\PC{0,3}) (/|http://|\\*)?\\PC{0,40} HTTP/[0-2]\\.[0-9]\r?\n\
                (([A-Za-z-]{1,20}|Content-Length|Connection|Transfer-Encoding):\\PC{0,30}\r?\n){0,5}\r?\n?"
        ) {
            check(bytes.as_bytes());
        }

        #[test]
        fn a_head_is_the_same_however_it_is_cut(cut in 0_usize..60) {
            let bytes = b"GET /health?probe=1 HTTP/1.1\r\nHost: pod\r\nUser-Agent: x\r\n\r\nGET /ready";
            let (head, length) = whole(bytes);
            match read(&bytes[..cut.min(length)]) {
                Read::Whole(same, _) => prop_assert_eq!(same, head),
                other => prop_assert_eq!(other, Read::Partial),
            }
        }
    }

    /// Whatever passes can be written into a request line of our own without changing its meaning.
    fn check(bytes: &[u8]) {
        if let Read::Whole(head, length) = read(bytes) {
            assert!(length <= bytes.len());
            assert!(!head.method.is_empty() && head.method.bytes().all(|byte| byte.is_ascii_graphic()));
            assert!(!head.path.is_empty() && head.path.bytes().all(|byte| byte.is_ascii_graphic()));
            assert!(head.minor <= 1);
        }
        assert!(request_line(bytes).len() <= bytes.len());
    }
}
