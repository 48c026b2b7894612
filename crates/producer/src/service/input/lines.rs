//! Splits bytes into lines.
//!
//! A line is what stands between two `\n`, byte for byte. Two things are taken away, and logged: a byte order mark at the
//! beginning, and the `\r` of every line if the first line ends with `\r\n`. In all other input a `\r` stays.

use std::io::{self, BufRead, BufReader, Read};

use super::{Content, InvalidLine, Line};

/// Bytes of a line that could be a message: what the largest topic takes.
pub const LONGEST_LINE: usize = 1 << 20;

/// Bytes of lines handed over together, as far as more than one line is.
const MOST_BYTES: usize = 256 << 10;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// First bytes of input that is not lines of text: what it is, and the command that makes text of it.
const NOT_TEXT: &[(&[u8], &str, &str)] = &[
    (b"\x1f\x8b", "compressed with gzip", "gzip -dc"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "zstd -dc"),
    (b"BZh", "compressed with bzip2", "bzip2 -dc"),
    (b"\xfd7zXZ\0", "compressed with xz", "xz -dc"),
    (b"\xff\xfe", "UTF-16", "iconv -f UTF-16 -t UTF-8"),
    (b"\xfe\xff", "UTF-16", "iconv -f UTF-16 -t UTF-8"),
];

pub(super) struct Lines<R> {
    reader: BufReader<R>,
    /// As the log and errors name it.
    input: String,
    /// The number of the line read last.
    number: u64,
    /// The line that is being read: a read that is stopped or fails leaves it for the next one.
    partial: Vec<u8>,
    /// Bytes of a line that is too long and is being skipped.
    skipping: Option<u64>,
    begun: bool,
    crlf: bool,
    /// An error that came after lines, which go first.
    failed: Option<io::Error>,
}

impl<R: Read> Lines<R> {
    pub(super) fn new(reader: BufReader<R>, input: String) -> Self {
        Self {
            reader,
            input,
            number: 0,
            partial: Vec::new(),
            skipping: None,
            begun: false,
            crlf: false,
            failed: None,
        }
    }

    pub(super) fn source(&self) -> &R {
        self.reader.get_ref()
    }

    /// Skips to after line `lines`.
    pub(super) fn skip(&mut self, lines: u64) -> io::Result<()> {
        if self.number == 0 && lines > 0 {
            // as a line, since it shows how lines end
            self.one()?;
        }
        while self.number < lines && self.reader.skip_until(b'\n')? > 0 {
            self.number += 1;
        }
        Ok(())
    }

    /// Waits for a line, then takes what more is there. None at the end.
    pub(super) fn some(&mut self, most: usize) -> io::Result<Vec<Line>> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let (mut lines, mut bytes) = (Vec::with_capacity(most.min(256)), 0);
        while lines.len() < most && bytes < MOST_BYTES {
            if !lines.is_empty() && !self.reader.buffer().contains(&b'\n') {
                break;
            }
            match self.one() {
                Ok(Some((content, length))) => {
                    bytes += length;
                    lines.push(Line { number: self.number, content });
                }
                Ok(None) => break,
                Err(error) if lines.is_empty() => return Err(error),
                Err(error) => {
                    self.failed = Some(error);
                    break;
                }
            }
        }
        Ok(lines)
    }

    /// The complete lines that were read already, and the number and bytes of an incomplete one. Reads nothing.
    pub(super) fn left_over(&mut self) -> (Vec<Line>, Option<(u64, u64)>) {
        let mut lines = Vec::new();
        while self.reader.buffer().contains(&b'\n') {
            match self.one() {
                Ok(Some((content, _))) => lines.push(Line { number: self.number, content }),
                _ => break,
            }
        }
        let bytes = (self.partial.len() + self.reader.buffer().len()) as u64 + self.skipping.unwrap_or(0);
        (lines, (bytes > 0).then_some((self.number + 1, bytes)))
    }

    fn one(&mut self) -> io::Result<Option<(Content, usize)>> {
        if !self.begun {
            self.begin()?;
        }
        if self.skipping.is_none() {
            let limit = LONGEST_LINE + 1;
            let left = (limit - self.partial.len()) as u64;
            (&mut self.reader).take(left).read_until(b'\n', &mut self.partial)?;
            if self.partial.is_empty() {
                return Ok(None);
            }
            if self.partial.len() < limit || self.partial.ends_with(b"\n") {
                let line = std::mem::take(&mut self.partial);
                self.number += 1;
                let line = self.without_ending(line);
                let length = line.len();
                return Ok(Some((content(line), length)));
            }
            self.partial.clear();
            self.skipping = Some(limit as u64);
        }
        self.skip_rest()?;
        let bytes = self.skipping.take().unwrap_or_default();
        self.number += 1;
        Ok(Some((Content::Invalid(InvalidLine::TooLong { bytes }), 0)))
    }

    /// Looks at the first bytes: whether they are text at all, and a byte order mark.
    fn begin(&mut self) -> io::Result<()> {
        let first = self.reader.fill_buf()?;
        if let Some((_, what, command)) = NOT_TEXT.iter().find(|(magic, ..)| first.starts_with(magic)) {
            let input = if self.input == "-" { "" } else { &self.input };
            let help = format!("INPUT is {what}; use: {command} {input} | producer --input -");
            return Err(io::Error::new(io::ErrorKind::InvalidData, help));
        }
        if first.starts_with(BYTE_ORDER_MARK) {
            self.reader.consume(BYTE_ORDER_MARK.len());
            tracing::info!(target: "producer", input = self.input, "INPUT begins with a byte order mark, which is not published");
        }
        self.begun = true;
        Ok(())
    }

    fn without_ending(&mut self, mut line: Vec<u8>) -> Vec<u8> {
        if !line.ends_with(b"\n") {
            return line;
        }
        line.pop();
        if self.number == 1 && line.ends_with(b"\r") {
            self.crlf = true;
            tracing::info!(target: "producer", input = self.input, "lines of INPUT end with CR LF; the CR is not published");
        }
        if self.crlf && line.ends_with(b"\r") {
            line.pop();
        }
        line
    }

    /// Skips to the next line.
    fn skip_rest(&mut self) -> io::Result<()> {
        loop {
            let chunk = match self.reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                chunk => chunk?,
            };
            let end = chunk.iter().position(|b| *b == b'\n');
            let length = end.unwrap_or(chunk.len());
            let is_last = end.is_some() || chunk.is_empty();
            self.reader.consume(length + usize::from(end.is_some()));
            self.skipping = self.skipping.map(|skipped| skipped + length as u64);
            if is_last {
                return Ok(());
            }
        }
    }
}

fn content(line: Vec<u8>) -> Content {
    if line.is_empty() || line == b"\r" {
        return Content::Blank;
    }
    match String::from_utf8(line) {
        Ok(text) => Content::Text(text),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let byte = error.as_bytes().get(at).copied().unwrap_or_default();
            Content::Invalid(InvalidLine::NotUtf8 { at, byte })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines_of(bytes: &[u8], capacity: usize) -> Lines<&[u8]> {
        Lines::new(BufReader::with_capacity(capacity, bytes), "in".to_owned())
    }

    fn read(bytes: &[u8], capacity: usize, most: usize) -> Vec<Line> {
        let mut lines = lines_of(bytes, capacity);
        let mut all = Vec::new();
        loop {
            let some = lines.some(most).unwrap();
            if some.is_empty() {
                return all;
            }
            assert!(some.len() <= most);
            all.extend(some);
        }
    }

    fn text(number: u64, text: &str) -> Line {
        Line { number, content: Content::Text(text.to_owned()) }
    }

    #[test]
    fn a_line_is_what_stands_between_line_feeds() {
        let bytes = "1\na\tb\r\n\n\r\n größer \nlast".as_bytes();
        let expected = [
            text(1, "1"),
            text(2, "a\tb\r"),
            Line { number: 3, content: Content::Blank },
            Line { number: 4, content: Content::Blank },
            text(5, " größer "),
            text(6, "last"),
        ];
        assert_eq!(read(bytes, 3, 2), expected);
        assert_eq!(read(b"", 3, 2), []);
        assert_eq!(read(b"a\n", 64, 9), [text(1, "a")], "a line feed at the end begins no line");
    }

    #[test]
    fn a_line_that_no_topic_takes_is_counted_and_not_held() {
        let mut bytes = vec![b'x'; LONGEST_LINE];
        bytes.extend(b"\nshort\n");
        bytes.extend(vec![b'y'; 3 * LONGEST_LINE]);
        bytes.extend(b"\nend");
        let lines = read(&bytes, 64 << 10, 100);
        assert!(matches!(&lines[0].content, Content::Text(text) if text.len() == LONGEST_LINE));
        let invalid = Content::Invalid(InvalidLine::TooLong { bytes: 3 * LONGEST_LINE as u64 });
        assert_eq!(lines[1..], [text(2, "short"), Line { number: 3, content: invalid }, text(4, "end")]);
        let just = vec![b'z'; LONGEST_LINE + 1];
        let invalid = Content::Invalid(InvalidLine::TooLong { bytes: LONGEST_LINE as u64 + 1 });
        assert_eq!(read(&just, 64 << 10, 1), [Line { number: 1, content: invalid }]);
    }

    #[test]
    fn what_is_not_utf8_says_where() {
        let lines = read(b"ok\nab\xff\n", 64 << 10, 9);
        assert_eq!(lines[1].content, Content::Invalid(InvalidLine::NotUtf8 { at: 2, byte: 0xff }));
    }

    #[test]
    fn a_byte_order_mark_and_the_cr_of_crlf_are_not_published() {
        let bytes = "\u{feff}{\"a\":1}\r\n{\"a\":2}\r\n\r\nlast\r".as_bytes();
        let blank = Line { number: 3, content: Content::Blank };
        let expected = [text(1, r#"{"a":1}"#), text(2, r#"{"a":2}"#), blank, text(4, "last\r")];
        assert_eq!(read(bytes, 64, 2), expected);
        let mut resumed = lines_of(bytes, 64);
        resumed.skip(1).unwrap();
        assert_eq!(resumed.some(1).unwrap(), [text(2, r#"{"a":2}"#)], "also after a skip");
        assert_eq!(
            read("x\u{feff}\n\u{feff}y\r\n".as_bytes(), 64, 9)[1],
            text(2, "\u{feff}y\r"),
            "elsewhere both stay"
        );
    }

    #[test]
    fn input_that_is_not_text_is_named_with_the_command_that_helps() {
        for (bytes, command) in [
            (&b"\x1f\x8b\x08\0rest"[..], "use: gzip -dc in | producer --input -"),
            (b"\x28\xb5\x2f\xfdx", "zstd -dc in"),
            (b"BZh91", "bzip2 -dc in"),
            (b"\xfd7zXZ\0\0", "xz -dc in"),
            (b"\xff\xfea\0", "iconv -f UTF-16 -t UTF-8 in"),
        ] {
            let error = lines_of(bytes, 64).some(1).unwrap_err().to_string();
            assert!(error.contains(command), "{error}");
        }
    }

    /// Bytes, then an error, then more bytes.
    struct Failing(Vec<io::Result<&'static [u8]>>);

    impl Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Ok(0);
            }
            let bytes = self.0.remove(0)?;
            buffer[..bytes.len()].copy_from_slice(bytes);
            Ok(bytes.len())
        }
    }

    #[test]
    fn lines_before_an_error_go_first_and_a_line_that_it_cuts_is_not_lost() {
        let script = vec![Ok(&b"1\n2\nhal"[..]), Err(io::Error::other("broken")), Ok(b"f\n")];
        let mut lines = Lines::new(BufReader::new(Failing(script)), "-".to_owned());
        assert_eq!(lines.some(2).unwrap(), [text(1, "1"), text(2, "2")]);
        assert_eq!(lines.some(9).unwrap_err().to_string(), "broken");
        assert_eq!(lines.some(9).unwrap(), [text(3, "half")]);
    }

    #[test]
    fn what_was_read_and_not_requested_is_left_over() {
        let mut lines = lines_of(b"1\n2\n3\nhalf", 64);
        assert_eq!(lines.some(1).unwrap(), [text(1, "1")]);
        assert_eq!(lines.left_over(), (vec![text(2, "2"), text(3, "3")], Some((4, 4))));
        assert_eq!(lines_of(b"", 64).left_over(), (vec![], None));
    }

    #[test]
    fn skipping_keeps_the_numbers() {
        let mut lines = lines_of(b"1\n2\n3\n", 64);
        lines.skip(2).unwrap();
        assert_eq!(lines.some(9).unwrap(), [text(3, "3")]);
        let mut past = lines_of(b"1\n", 64);
        past.skip(7).unwrap();
        assert_eq!(past.some(9).unwrap(), []);
    }

    #[test]
    fn what_is_there_is_handed_over_without_waiting_for_more() {
        let (reader, mut writer) = io::pipe().unwrap();
        io::Write::write_all(&mut writer, b"1\n2\nhal").unwrap();
        let mut lines = Lines::new(BufReader::new(reader), "-".to_owned());
        assert_eq!(lines.some(9).unwrap(), [text(1, "1"), text(2, "2")]);
        io::Write::write_all(&mut writer, b"f\n").unwrap();
        assert_eq!(lines.some(9).unwrap(), [text(3, "half")]);
    }

    proptest! {
        #[test]
        fn lines_joined_are_the_input(bytes in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), b'a'..=b'c'], 0..200), capacity in 1usize..40, most in 1usize..9) {
            prop_assume!(!bytes.starts_with(b"\r\n") && bytes.split(|b| *b == b'\n').next().is_none_or(|first| !first.ends_with(b"\r")));
            let lines = read(&bytes, capacity, most);
            let expected: Vec<&[u8]> = bytes.split(|b| *b == b'\n').collect();
            let expected = if bytes.is_empty() || bytes.ends_with(b"\n") { &expected[..expected.len() - 1] } else { &expected[..] };
            prop_assert_eq!(lines.len(), expected.len());
            for (line, (at, expected)) in lines.iter().zip(expected.iter().enumerate()) {
                prop_assert_eq!(line.number, at as u64 + 1);
                match &line.content {
                    Content::Text(text) => prop_assert_eq!(text.as_bytes(), *expected),
                    other => prop_assert!(*other == Content::Blank && (expected.is_empty() || *expected == b"\r")),
                }
            }
        }
    }
}
