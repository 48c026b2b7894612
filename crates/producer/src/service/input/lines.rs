//! Lines of a file, a FIFO or standard input, read by a thread of its own: reading may block for ever, and the runtime
//! must not.
//!
//! A line is what stands between two `\n`, byte for byte: a `\r` stays part of it. The thread reads when it is asked to,
//! and holds one chunk of the input and one line of at most [`LONGEST_LINE`] bytes besides.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::mpsc as blocking;
use std::thread;

use tokio::sync::mpsc;

use super::{Content, Input, Line, Unfit};

/// Bytes of a line that could be a message: what the largest topic takes.
pub const LONGEST_LINE: usize = 1 << 20;

/// Bytes read at once: what a pipe holds.
const CHUNK: usize = 64 << 10;

/// Bytes of lines handed over at once, as far as more than one line is.
const MOST_BYTES: usize = 256 << 10;

pub(crate) struct LineReader {
    requests: blocking::SyncSender<usize>,
    answers: mpsc::Receiver<io::Result<Vec<Line>>>,
    /// A request is with the thread: its asker was cancelled, the next one takes the answer.
    asked: bool,
}

impl LineReader {
    pub(crate) fn start(input: Input, from: u64) -> io::Result<Self> {
        let (requests, asked) = blocking::sync_channel(1);
        let (answer, answers) = mpsc::channel(1);
        // It is not joined: at the end of the process it may be in a read that nobody ends.
        thread::Builder::new().name("input".to_owned()).spawn(move || {
            let answer_all = || -> io::Result<()> {
                let mut lines = Lines::new(BufReader::with_capacity(CHUNK, open(&input)?));
                lines.skip(from.saturating_sub(1))?;
                while let Ok(most) = asked.recv() {
                    if answer.blocking_send(Ok(lines.some(most)?)).is_err() {
                        break;
                    }
                }
                Ok(())
            };
            if let Err(error) = answer_all() {
                drop(answer.blocking_send(Err(error)));
            }
        })?;
        Ok(Self { requests, answers, asked: false })
    }

    pub(crate) async fn next(&mut self, most: usize) -> io::Result<Vec<Line>> {
        if !self.asked {
            // full it is never, and closed only behind an error, which is received below
            self.asked = self.requests.try_send(most).is_ok();
        }
        let answer = self.answers.recv().await;
        self.asked = false;
        answer.unwrap_or_else(|| Ok(Vec::new()))
    }

    pub(crate) fn left_over(&mut self) -> Vec<Line> {
        self.answers.try_recv().ok().and_then(Result::ok).unwrap_or_default()
    }
}

fn open(input: &Input) -> io::Result<Box<dyn Read>> {
    Ok(match input {
        Input::File(path) => Box::new(File::open(path)?),
        Input::Stdin | Input::Generate => Box::new(io::stdin()),
    })
}

/// Splits bytes into lines.
struct Lines<R> {
    reader: BufReader<R>,
    /// The number of the line read last.
    number: u64,
}

impl<R: Read> Lines<R> {
    fn new(reader: BufReader<R>) -> Self {
        Self { reader, number: 0 }
    }

    fn skip(&mut self, lines: u64) -> io::Result<()> {
        while self.number < lines && self.reader.skip_until(b'\n')? > 0 {
            self.number += 1;
        }
        Ok(())
    }

    /// Waits for a line, then takes what more is there. None at the end.
    fn some(&mut self, most: usize) -> io::Result<Vec<Line>> {
        let (mut lines, mut bytes) = (Vec::with_capacity(most.min(256)), 0);
        while lines.len() < most && bytes < MOST_BYTES {
            if !lines.is_empty() && !self.reader.buffer().contains(&b'\n') {
                break;
            }
            let Some((content, length)) = self.one()? else { break };
            bytes += length;
            lines.push(Line { number: self.number, content });
        }
        Ok(lines)
    }

    fn one(&mut self) -> io::Result<Option<(Content, usize)>> {
        let mut line = Vec::new();
        let limit = LONGEST_LINE as u64 + 1;
        let read = (&mut self.reader).take(limit).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        if line.last() == Some(&b'\n') {
            line.pop();
        } else if read as u64 == limit {
            let rest = self.skip_rest()?;
            return Ok(Some((Content::Unfit(Unfit::TooLong { bytes: limit + rest }), 0)));
        }
        let length = line.len();
        Ok(Some((content(line), length)))
    }

    /// Skips to the next line; how many bytes of this one, its `\n` not counted.
    fn skip_rest(&mut self) -> io::Result<u64> {
        let mut skipped = 0;
        loop {
            let chunk = match self.reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                chunk => chunk?,
            };
            if chunk.is_empty() {
                return Ok(skipped);
            }
            let end = chunk.iter().position(|b| *b == b'\n');
            let length = end.unwrap_or(chunk.len());
            self.reader.consume(length + usize::from(end.is_some()));
            skipped += length as u64;
            if end.is_some() {
                return Ok(skipped);
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
            Content::Unfit(Unfit::NotUtf8 { at, byte })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8], capacity: usize, most: usize) -> Vec<Line> {
        let mut lines = Lines::new(BufReader::with_capacity(capacity, bytes));
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
        let bytes = "a\tb\r\n\n\r\n größer \nlast".as_bytes();
        let expected = [
            text(1, "a\tb\r"),
            Line { number: 2, content: Content::Blank },
            Line { number: 3, content: Content::Blank },
            text(4, " größer "),
            text(5, "last"),
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
        let lines = read(&bytes, CHUNK, 100);
        assert!(matches!(&lines[0].content, Content::Text(text) if text.len() == LONGEST_LINE));
        let unfit = Content::Unfit(Unfit::TooLong { bytes: 3 * LONGEST_LINE as u64 });
        assert_eq!(lines[1..], [text(2, "short"), Line { number: 3, content: unfit }, text(4, "end")]);
        let just = vec![b'z'; LONGEST_LINE + 1];
        let unfit = Content::Unfit(Unfit::TooLong { bytes: LONGEST_LINE as u64 + 1 });
        assert_eq!(read(&just, CHUNK, 1), [Line { number: 1, content: unfit }]);
    }

    #[test]
    fn what_is_not_utf8_says_where() {
        let lines = read(b"ok\nab\xff\n", CHUNK, 9);
        assert_eq!(lines[1].content, Content::Unfit(Unfit::NotUtf8 { at: 2, byte: 0xff }));
    }

    #[test]
    fn skipping_keeps_the_numbers() {
        let mut lines = Lines::new(BufReader::new(&b"1\n2\n3\n"[..]));
        lines.skip(2).unwrap();
        assert_eq!(lines.some(9).unwrap(), [text(3, "3")]);
        let mut past = Lines::new(BufReader::new(&b"1\n"[..]));
        past.skip(7).unwrap();
        assert_eq!(past.some(9).unwrap(), []);
    }

    #[test]
    fn what_is_there_is_handed_over_without_waiting_for_more() {
        let (reader, mut writer) = io::pipe().unwrap();
        io::Write::write_all(&mut writer, b"1\n2\nhal").unwrap();
        let mut lines = Lines::new(BufReader::new(reader));
        assert_eq!(lines.some(9).unwrap(), [text(1, "1"), text(2, "2")]);
        io::Write::write_all(&mut writer, b"f\n").unwrap();
        assert_eq!(lines.some(9).unwrap(), [text(3, "half")]);
    }

    proptest! {
        #[test]
        fn lines_joined_are_the_input(bytes in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), b'a'..=b'c'], 0..200), capacity in 1usize..40, most in 1usize..9) {
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
