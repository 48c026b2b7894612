//! Settings that report every bad value at once: clap value parsers that never fail, and the list of problems that they
//! fill.
//!
//! An argument with the value parser [`integer(1..=256)`](super::integer) has the type [`Checked<u64>`](Checked). It
//! remembers a bad value instead of ending the parse, and `check` hands each one to [`Problems`].

use std::ffi::OsStr;
use std::fmt;
use std::sync::Arc;

use clap::builder::{PossibleValue, TypedValueParser};
use clap::parser::ValueSource;
use lifeline_escape::{Line, unescaped};

/// Longest part of a bad value that is shown.
const SHOWN: usize = 200;

type Parse<T> = dyn Fn(&str) -> Result<T, Option<String>> + Send + Sync;

/// A clap value parser: what a setting accepts, as code and in words.
#[derive(Clone)]
pub struct Accept<T> {
    expected: Arc<str>,
    options: Arc<[&'static str]>,
    parse: Arc<Parse<T>>,
}

impl<T> Accept<T> {
    /// Accepts what `parse` returns `Some` for. `expected` completes "invalid value; expected …".
    pub fn new(
        expected: impl Into<String>,
        parse: impl Fn(&str) -> Option<T> + Send + Sync + 'static,
    ) -> Self {
        Self::with_parse(expected.into(), move |text| parse(text).ok_or(None))
    }

    /// The same for values that can be wrong in several ways: the error is shown instead of "invalid value".
    pub fn explained(
        expected: impl Into<String>,
        parse: impl Fn(&str) -> Result<T, String> + Send + Sync + 'static,
    ) -> Self {
        Self::with_parse(expected.into(), move |text| parse(text).map_err(Some))
    }

    fn with_parse(
        expected: String,
        parse: impl Fn(&str) -> Result<T, Option<String>> + Send + Sync + 'static,
    ) -> Self {
        Self { expected: expected.into(), options: Arc::new([]), parse: Arc::new(parse) }
    }

    /// Names the accepted words, for `--help` and shell completions.
    pub(super) fn options(self, options: impl IntoIterator<Item = &'static str>) -> Self {
        Self { options: options.into_iter().collect(), ..self }
    }
}

impl<T> fmt::Debug for Accept<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Accept").field(&self.expected).finish()
    }
}

impl<T: Clone + Send + Sync + 'static> TypedValueParser for Accept<T> {
    type Value = Checked<T>;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<Checked<T>, clap::Error> {
        self.parse_ref_(command, arg, value, ValueSource::CommandLine)
    }

    fn parse_ref_(
        &self,
        _: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &OsStr,
        source: ValueSource,
    ) -> Result<Checked<T>, clap::Error> {
        let variable = arg.and_then(|arg| arg.get_env()).map(|name| name.to_string_lossy().into_owned());
        let flag = arg.and_then(|arg| arg.get_long()).map(|name| format!("--{name}"));
        let (name, given) = match source {
            ValueSource::CommandLine => (flag.or(variable), true),
            ValueSource::EnvVariable => (variable.or(flag), true),
            _ => (flag.or(variable), false),
        };
        let text = value.to_string_lossy();
        let setting = format!("{}={}", name.unwrap_or_default(), shown(&text));
        let parsed =
            if value.to_str().is_some() { (self.parse)(&text) } else { Err(Some("not UTF-8".to_owned())) };
        Ok(match parsed {
            Ok(value) => Checked { value: Some(value), given, setting, problem: None },
            Err(why) => {
                let why = why.unwrap_or_else(|| "invalid value".to_owned());
                let problem = format!("{setting}: {why}; expected {}", self.expected);
                // the default stands in, so that `check` can go on and collect the other problems
                let default = arg.and_then(|arg| arg.get_default_values().first());
                let value = default.and_then(|text| (self.parse)(&text.to_string_lossy()).ok());
                Checked { value, given, setting, problem: Some(problem) }
            }
        })
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let options = self.options.iter().map(|option| PossibleValue::new(*option));
        (!self.options.is_empty()).then(|| Box::new(options) as Box<_>)
    }
}

/// The value of one setting, good or bad. [`Problems`] opens it.
#[derive(Debug, Clone)]
pub struct Checked<T> {
    value: Option<T>,
    given: bool,
    setting: String,
    problem: Option<String>,
}

impl<T> Checked<T> {
    /// Whether a flag or a variable set it: false for a default.
    #[must_use]
    pub fn is_given(&self) -> bool {
        self.given
    }

    /// Whether it was set on the command line.
    #[must_use]
    pub fn is_flag(&self) -> bool {
        self.given && self.setting.starts_with("--")
    }
}

/// Everything that is wrong with the settings, one line each, and what is worth a warning. A program that ends for it
/// prints it and exits with code 2.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems {
    problems: Vec<String>,
    warnings: Vec<String>,
    prefix: &'static str,
}

impl Problems {
    /// No problems. `prefix` is what the program's variables begin with, if anything.
    #[must_use]
    pub fn new(prefix: &'static str) -> Self {
        Self { prefix, ..Self::default() }
    }

    /// The value of a setting that has a default. A bad one is noted, and the default is returned in its place.
    ///
    /// # Panics
    /// If a bad value has no default, or a bad one: an argument without a default is an `Option` and belongs into
    /// [`optional`](Self::optional).
    pub fn value<T>(&mut self, checked: Checked<T>) -> T {
        let Checked { value, setting, problem, .. } = checked;
        self.problems.extend(problem);
        value.unwrap_or_else(|| panic!("{setting}: a setting that is not optional has a valid default"))
    }

    /// The value of a setting without a default: `None` if it is not set, or is set to a bad value, which is noted.
    pub fn optional<T>(&mut self, checked: Option<Checked<T>>) -> Option<T> {
        let Checked { value, problem, .. } = checked?;
        self.problems.extend(problem);
        value
    }

    /// Notes that a value is wrong in its context: it excludes another, or needs another.
    pub fn reject<T>(&mut self, checked: &Checked<T>, why: impl fmt::Display) {
        self.problems.push(format!("{}: {why}", checked.setting));
    }

    /// Notes that a setting is missing. `why` completes "not set; …".
    pub fn missing(&mut self, variable: &str, why: impl fmt::Display) {
        let name = match self.prefix {
            "" => variable.to_owned(),
            // whose variables have a prefix is run by hand, by its flags
            prefix => format!("--{} ({prefix}{variable})", variable.to_lowercase().replace('_', "-")),
        };
        self.problems.push(format!("{name}: not set; {why}"));
    }

    /// Notes a bad value that did not come through an argument.
    pub fn invalid(&mut self, variable: &str, value: &str, expected: &str) {
        self.problems.push(format!("{variable}={}: invalid value; expected {expected}", shown(value)));
    }

    /// Warns of a bad value that is ignored.
    pub fn ignored(&mut self, variable: &str, value: &str, expected: &str) {
        self.warnings.push(format!("{variable}={}: ignored; expected {expected}", shown(value)));
    }

    /// Notes what is wrong with a variable whose value is secret.
    pub fn secret(&mut self, variable: &str, why: impl fmt::Display) {
        self.problems.push(format!("{variable}: {why}"));
    }

    /// Takes the value of a setting by its former name, unless it is set by its present one, and warns.
    pub fn renamed<T>(&mut self, old: Option<Checked<T>>, new: Checked<T>, name: &str) -> Checked<T> {
        let Some(old) = old else { return new };
        let (old_name, _) = old.setting.split_once('=').unwrap_or_default();
        let ignored = if new.given { ", which is set too and wins" } else { "" };
        self.warnings.push(format!("{old_name} is deprecated: it is now {}{name}{ignored}", self.prefix));
        if new.given { new } else { old }
    }

    /// Notes something that the log should show once it runs.
    pub fn warn(&mut self, warning: impl Into<String>) {
        self.warnings.push(warning.into());
    }

    /// Adds those of another part of the program.
    pub fn merge(&mut self, other: Self) {
        self.problems.extend(other.problems);
        self.warnings.extend(other.warnings);
    }

    /// The problems, unescaped.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.problems.iter().map(String::as_str)
    }

    /// What the program's variables begin with.
    pub(crate) fn prefix(&self) -> &'static str {
        self.prefix
    }

    /// The warnings, if there are no problems. They are unescaped.
    ///
    /// # Errors
    /// The problems.
    pub fn finish(mut self) -> Result<Vec<String>, Self> {
        // two services in one process read some settings twice
        let mut seen = std::collections::HashSet::new();
        self.problems.retain(|problem| seen.insert(problem.clone()));
        self.warnings.retain(|warning| seen.insert(warning.clone()));
        if self.problems.is_empty() { Ok(self.warnings) } else { Err(self) }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.problems.iter().enumerate() {
            let separator = if n == 0 { "" } else { "\n" };
            write!(f, "{separator}{}", Line::new(problem))?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// A value as an error shows it: no password, not too long. It is escaped with the line that it becomes a part of.
fn shown(text: &str) -> String {
    let text = match text.split_once("://").map(|(scheme, rest)| (scheme, rest, rest.rfind('@'))) {
        Some((scheme, rest, Some(at))) => format!("{scheme}://***{}", &rest[at..]),
        _ => text.to_owned(),
    };
    unescaped(Line::new(&text).limit(SHOWN))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{integer, text, url};
    use super::*;

    #[derive(Parser, Debug)]
    struct Args {
        #[arg(long, env = "TEST_POLLERS", default_value = "4", value_parser = integer::<usize>(1..=256))]
        pollers: Checked<usize>,
        #[arg(long, hide = true, value_parser = integer::<usize>(1..=256))]
        old_pollers: Option<Checked<usize>>,
        #[arg(long, env = "TEST_URL", value_parser = url())]
        url: Option<Checked<String>>,
        #[arg(long, default_value = "events", value_parser = text())]
        topic: Checked<String>,
    }

    fn parse(arguments: &[&str]) -> Args {
        Args::try_parse_from(std::iter::once("test").chain(arguments.iter().copied())).unwrap()
    }

    #[test]
    fn every_bad_value_is_one_line_and_a_default_stands_in() {
        let args = parse(&["--pollers=0", "--url", "localhost"]);
        let mut problems = Problems::default();
        assert_eq!((problems.value(args.pollers), problems.optional(args.url)), (4, None));
        assert_eq!(
            problems.finish().unwrap_err().to_string(),
            "--pollers=0: invalid value; expected a whole number from 1 to 256\n\
             --url=localhost: invalid value; expected a URL that begins with http:// or https://"
        );
    }

    #[test]
    fn a_default_is_not_given() {
        let args = parse(&["--pollers", "4"]);
        assert!(args.pollers.is_given() && !args.topic.is_given());
        let mut problems = Problems::new("LIFELINE_");
        problems.reject(&args.pollers, "too many for one queue");
        problems.missing("GROUP", "set it to a constant");
        assert_eq!(
            problems.finish().unwrap_err().to_string(),
            "--pollers=4: too many for one queue\n--group (LIFELINE_GROUP): not set; set it to a constant"
        );
    }

    #[test]
    fn a_former_name_is_taken_with_a_warning() {
        for (arguments, value) in [
            (vec!["--old-pollers=7"], 7),
            (vec!["--old-pollers=7", "--pollers=9"], 9),
            (vec!["--pollers=9"], 9),
        ] {
            let args = parse(&arguments);
            let mut problems = Problems::default();
            let pollers = problems.renamed(args.old_pollers, args.pollers, "POLLERS");
            assert_eq!(problems.value(pollers), value);
            let warnings = problems.finish().unwrap();
            assert_eq!(warnings.is_empty(), arguments.len() == 1 && value == 9, "{warnings:?}");
            assert!(
                warnings
                    .iter()
                    .all(|warning| warning.starts_with("--old-pollers is deprecated: it is now POLLERS"))
            );
        }
    }

    #[test]
    fn what_is_shown_of_a_value_is_one_line_without_a_password() {
        let mut problems = Problems::default();
        problems.invalid("A", "a\nb\"c\"", "b");
        assert_eq!(problems.to_string(), "A=a\\nb\"c\": invalid value; expected b");
        assert_eq!(shown("htp://me:secret@host/path"), "htp://***@host/path");
        assert!(shown(&"x".repeat(300)).starts_with(&format!("{}…", "x".repeat(SHOWN))));
    }
}
