//! Parses a client's requests as far as needed to find the AWS action of each.
//!
//! SQS names it in `x-amz-target: AmazonSQS.ReceiveMessage`; SNS, and the old protocol of SQS, in the form:
//! `Action=Publish&…`. Bodies are not copied, except for the first bytes of a form.

/// A longer head is not a request.
const LONGEST_HEAD: usize = 64 * 1024;

/// Bytes of a form that are searched for the action, which every SDK writes first.
const FORM: usize = 1024;

/// Where in a request the bytes of a connection are.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    state: State,
    kept: Vec<u8>,
}

#[derive(Debug, Default, Clone, Copy)]
enum State {
    #[default]
    Head,
    /// A form whose action is not known yet, and the bytes that remain.
    Form {
        left: usize,
    },
    Body {
        left: usize,
    },
    /// A chunked body: the size line, or the rest of a chunk with its line end.
    ChunkSize,
    Chunk {
        left: usize,
    },
    /// Not HTTP: the bytes are forwarded and not counted.
    Lost,
}

/// A parsed head.
struct Head {
    action: Option<String>,
    body: Length,
}

enum Length {
    Known(usize),
    Chunked,
}

impl Requests {
    /// Parses the next bytes, and calls `call` with the action of each request, in order.
    pub(crate) fn see(&mut self, mut bytes: &[u8], mut call: impl FnMut(&str)) {
        while !bytes.is_empty() {
            bytes = match self.state {
                State::Head => self.head(bytes, &mut call),
                State::Form { left } => self.form(left, bytes, &mut call),
                State::Body { left } => {
                    let (taken, rest) = bytes.split_at(left.min(bytes.len()));
                    self.state = body(left - taken.len());
                    rest
                }
                State::ChunkSize => self.chunk_size(bytes),
                State::Chunk { left } => {
                    let (taken, rest) = bytes.split_at(left.min(bytes.len()));
                    self.state = match left - taken.len() {
                        0 => State::ChunkSize,
                        left => State::Chunk { left },
                    };
                    rest
                }
                State::Lost => return,
            };
        }
    }

    fn head<'a>(&mut self, bytes: &'a [u8], call: &mut impl FnMut(&str)) -> &'a [u8] {
        // The end may span two reads.
        let before = self.kept.len();
        let from = before.saturating_sub(3);
        self.kept.extend_from_slice(bytes);
        let Some(end) = find(&self.kept[from..], b"\r\n\r\n").map(|at| from + at + 4) else {
            if self.kept.len() > LONGEST_HEAD {
                self.state = State::Lost;
            }
            return &[];
        };
        let read = read_head(&self.kept[..end]);
        self.kept.clear();
        self.state = match read {
            None => State::Lost,
            Some(Head { action, body: length }) => {
                if let Some(action) = &action {
                    call(action);
                }
                match length {
                    Length::Known(left) if action.is_none() && left > 0 => State::Form { left },
                    Length::Known(left) => {
                        if action.is_none() {
                            call("other");
                        }
                        body(left)
                    }
                    Length::Chunked => {
                        if action.is_none() {
                            call("other");
                        }
                        State::ChunkSize
                    }
                }
            }
        };
        &bytes[end - before..]
    }

    fn form<'a>(&mut self, left: usize, bytes: &'a [u8], call: &mut impl FnMut(&str)) -> &'a [u8] {
        let (taken, rest) = bytes.split_at(left.min(bytes.len()));
        let left = left - taken.len();
        self.kept.extend_from_slice(&taken[..taken.len().min(FORM)]);
        let over = left == 0 || self.kept.len() >= FORM;
        match action_of_form(&self.kept, over) {
            Some(action) => call(action),
            None if over => call("other"),
            None => {
                self.state = State::Form { left };
                return rest;
            }
        }
        self.kept.clear();
        self.state = body(left);
        rest
    }

    fn chunk_size<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let before = self.kept.len();
        let line = bytes.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
        self.kept.extend_from_slice(&bytes[..line.unwrap_or(bytes.len())]);
        let Some(line) = line else {
            if before > LONGEST_HEAD {
                self.state = State::Lost;
            }
            return &[];
        };
        self.state = match httparse::parse_chunk_size(&self.kept) {
            // the last chunk; no SDK sends trailers, so that an empty line ends it
            Ok(httparse::Status::Complete((_, 0))) => State::Body { left: 2 },
            // with the line end behind it
            Ok(httparse::Status::Complete((_, size))) => {
                State::Chunk { left: usize::try_from(size).unwrap_or(usize::MAX).saturating_add(2) }
            }
            _ => State::Lost,
        };
        self.kept.clear();
        &bytes[line..]
    }
}

fn body(left: usize) -> State {
    if left == 0 { State::Head } else { State::Body { left } }
}

fn read_head(bytes: &[u8]) -> Option<Head> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    request.parse(bytes).ok()?.is_complete().then_some(())?;
    let mut head = Head { action: None, body: Length::Known(0) };
    for header in request.headers.iter() {
        let value = std::str::from_utf8(header.value).ok()?.trim();
        if header.name.eq_ignore_ascii_case("x-amz-target") {
            head.action = Some(value.rsplit('.').next().unwrap_or(value).to_owned());
        } else if header.name.eq_ignore_ascii_case("content-length") {
            head.body = Length::Known(value.parse().ok()?);
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            head.body = Length::Chunked;
        }
    }
    Some(head)
}

/// The value of `Action`; `whole` when no more of the form will be looked at.
fn action_of_form(form: &[u8], whole: bool) -> Option<&str> {
    let text = std::str::from_utf8(form).or_else(|e| std::str::from_utf8(&form[..e.valid_up_to()])).ok()?;
    let value = text.split('&').find_map(|pair| pair.strip_prefix("Action="))?;
    let ended = whole || text.len() > value.as_ptr() as usize - text.as_ptr() as usize + value.len();
    ended.then_some(value)
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(body: &str) -> String {
        format!(
            "POST / HTTP/1.1\r\nX-Amz-Target: AmazonSQS.ReceiveMessage\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    fn publish(form: &str) -> String {
        format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{form}", form.len())
    }

    fn seen(bytes: &[u8], step: usize) -> Vec<String> {
        let (mut requests, mut calls) = (Requests::default(), Vec::new());
        for part in bytes.chunks(step) {
            requests.see(part, |action| calls.push(action.to_owned()));
        }
        calls
    }

    #[test]
    fn requests_are_told_apart_however_the_bytes_are_cut() {
        let chunked = "POST / HTTP/1.1\r\nx-amz-target: AmazonSQS.DeleteMessage\r\n\
            transfer-encoding: chunked\r\n\r\n5\r\n\r\n\r\n\r\r\n3\r\nabc\r\n0\r\n\r\n";
        let stream = [
            receive("{\"a\":\"\\r\\n\\r\\nPOST\"}"),
            publish("Action=PublishBatch&Version=2010-03-31&Message=Action%3DNo"),
            chunked.to_owned(),
            publish("Version=2010-03-31&Action=Publish"),
            "GET /health HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(),
            receive(""),
        ]
        .concat();
        let expected =
            ["ReceiveMessage", "PublishBatch", "DeleteMessage", "Publish", "other", "ReceiveMessage"];
        for step in 1..stream.len() {
            assert_eq!(seen(stream.as_bytes(), step), expected, "cut every {step} bytes");
        }
    }

    #[test]
    fn a_large_form_is_counted_once() {
        let large = publish(&format!("Action=Publish&Message={}", "x".repeat(300_000)));
        assert_eq!(seen(large.repeat(2).as_bytes(), 65_536), ["Publish", "Publish"]);
        let nothing = publish(&format!("Message={}&Action=Publish", "x".repeat(300_000)));
        assert_eq!(seen(nothing.as_bytes(), 65_536), ["other"], "where it is not looked for");
    }

    #[test]
    fn what_is_not_http_is_not_counted() {
        assert_eq!(seen(b"\x16\x03\x01 no request\r\n\r\n at all", 7), Vec::<String>::new());
    }
}
