//! Text from strangers, made fit for one line of a log.
//!
//! A message body may hold line breaks that forge a log line, escape sequences that reach the operator's
//! terminal, and invisible or direction-changing characters that make a line read as what it is not
//! (CVE-2021-42574, "Trojan Source"). All of these are written as escapes; everything else stays readable.

use std::cell::Cell;
use std::fmt::{self, Display, Write};

thread_local! {
    static VERBATIM: Cell<bool> = const { Cell::new(false) };
}

/// Runs `format` with every [`Line`] that this thread displays in it as its text is, cut but not escaped: for a form that
/// escapes values itself, such as JSON, in which they would be escaped twice.
///
/// ```
/// use lifeline_escape::{Line, verbatim};
/// assert_eq!(verbatim(|| Line::new("a\nb").to_string()), "a\nb");
/// assert_eq!(Line::new("a\nb").to_string(), r"a\nb");
/// ```
pub fn verbatim<R>(format: impl FnOnce() -> R) -> R {
    /// Puts it back, after a panic too.
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            VERBATIM.set(self.0);
        }
    }
    let _before = Before(VERBATIM.replace(true));
    format()
}

/// `value` as text that is yet to be escaped, by the [`Line`] that displays it: what is escaped twice does not read back.
///
/// ```
/// use lifeline_escape::{Line, unescaped};
/// let reason = Line::new("a\nb");
/// assert_eq!(unescaped(reason), "a\nb");
/// ```
pub fn unescaped(value: impl Display) -> String {
    verbatim(|| value.to_string())
}

/// Displays `text` on one line, with at most `limit` bytes of it.
///
/// ```
/// use lifeline_escape::Line;
/// assert_eq!(Line::new("tab\tand\nbreak").to_string(), r"tab\tand\nbreak");
/// assert_eq!(Line::new("größer").limit(4).to_string(), "grö…(+4 bytes)");
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    text: &'a str,
    limit: usize,
}

impl<'a> Line<'a> {
    /// The whole of `text`.
    pub fn new(text: &'a str) -> Self {
        Self { text, limit: usize::MAX }
    }

    /// At most `limit` bytes of it, cut between characters; what was left out is counted behind it.
    #[must_use]
    pub fn limit(self, limit: usize) -> Self {
        Self { limit, ..self }
    }
}

impl Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.text[..self.text.floor_char_boundary(self.limit)];
        let verbatim = VERBATIM.get();
        let mut clean_from = 0;
        for (at, c) in shown.char_indices().filter(|&(_, c)| !verbatim && must_escape(c)) {
            f.write_str(&shown[clean_from..at])?;
            match c {
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                '\\' => f.write_str("\\\\")?,
                c => write!(f, "\\u{{{:x}}}", u32::from(c))?,
            }
            clean_from = at + c.len_utf8();
        }
        f.write_str(&shown[clean_from..])?;
        match self.text.len() - shown.len() {
            0 => Ok(()),
            hidden => {
                f.write_char('…')?;
                write!(f, "(+{hidden} bytes)")
            }
        }
    }
}

/// Controls (C0, DEL, C1), the backslash itself (so that an escape cannot be faked), line and paragraph
/// separators, and the format characters of Unicode's `Default_Ignorable` and `Bidi_Control` sets.
fn must_escape(c: char) -> bool {
    match c {
        ' '..='[' | ']'..='~' => false,
        '\\' => true,
        c if c.is_control() => true,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}' => true,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => true,
        '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}' => true,
        _ => false,
    }
}

/// Tests the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_body_cannot_forge_a_line_or_reach_the_terminal() {
        let hostile = "a\n2026-01-01 INFO deleted message_id=x\r\u{1b}[2J\u{9b}31m\u{202e}\u{2028}\u{7}";
        let shown = Line::new(hostile).to_string();
        assert!(!shown.chars().any(|c| c.is_control() || c == '\u{202e}' || c == '\u{2028}'), "{shown}");
        assert!(shown.starts_with(r"a\n2026-01-01 INFO deleted message_id=x\r\u{1b}[2J"));
    }

    #[test]
    fn an_escape_cannot_be_faked() {
        assert_ne!(Line::new("\\n").to_string(), Line::new("\n").to_string());
    }

    #[test]
    fn text_of_every_script_stays_readable() {
        for text in ["größer", "日本語", "العربية", "हिन्दी", "emoji 🦀 stays", "{\"json\": [1, 2]}"]
        {
            assert_eq!(Line::new(text).to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn whatever_the_text_it_stays_on_one_line(text in any::<String>(), limit in 0usize..64) {
            let shown = Line::new(&text).limit(limit).to_string();
            prop_assert!(!shown.chars().any(char::is_control));
            prop_assert!(shown.len() <= limit * 8 + 40);
        }
    }
}
