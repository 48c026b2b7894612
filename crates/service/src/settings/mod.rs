//! Settings: one table a program, from which flags, variables, `--help` and the checks all come.
//!
//! A setting `MAX_IN_FLIGHT` is the environment variable of that name and the flag `--max-in-flight`; the flag
//! wins. An empty variable counts as unset, as Kubernetes manifests like to set it. Every bad value is
//! reported at once, each on a line that names the setting, the value and what is accepted.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt::{self, Display};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

/// One row of a program's table.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The environment variable; the flag is derived from it.
    pub name: &'static str,
    /// What holds when nothing is set; `None` where the absence itself means something.
    pub default: Option<&'static str>,
    /// One line for `--help`.
    pub help: &'static str,
}

/// What the command line asked for.
#[derive(Debug)]
pub struct Invocation {
    /// The subcommand, where one was given.
    pub subcommand: Option<&'static str>,
    /// The settings as they were given.
    pub values: Values,
}

/// Settings as text, by name.
#[derive(Debug, Clone, Default)]
pub struct Values {
    given: HashMap<&'static str, (String, Source)>,
    defaults: HashMap<&'static str, &'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Flag,
    Variable,
}

/// A program: its name, what it is for, its subcommands and its settings.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// The binary's name.
    pub name: &'static str,
    /// One line for `--help`.
    pub about: &'static str,
    /// Subcommands with a line each; all of them take the same settings.
    pub subcommands: &'static [(&'static str, &'static str)],
    /// The table, as slices so that programs can share parts of it. Of rows with one name the first counts.
    pub settings: &'static [&'static [Setting]],
    /// Programs that this one runs inside: their rows follow its own.
    pub embeds: &'static [&'static Program],
    /// Rows of those that it decides itself: neither flag nor variable sets them.
    pub decides: &'static [&'static str],
}

impl Program {
    /// Reads this process's arguments and environment. Prints `--help` and `--version`, and complains of
    /// unknown flags, by itself: then the process ends (code 0, or 2).
    pub fn invocation(&self) -> Invocation {
        self.parse(std::env::args_os(), |name| std::env::var(name).ok()).unwrap_or_else(|e| e.exit())
    }

    /// The same with arguments (the first is the program) and an environment of one's own.
    ///
    /// # Errors
    /// Clap's, for `--help`, `--version`, unknown flags and missing values; its `exit` prints it.
    pub fn parse(
        &self,
        arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Invocation, clap::Error> {
        let matches = self.command().try_get_matches_from(arguments)?;
        let (subcommand, deepest) = match matches.subcommand() {
            Some((name, sub)) => (self.subcommands.iter().map(|(n, _)| *n).find(|n| *n == name), sub),
            None => (None, &matches),
        };
        let mut values = Values::default();
        for setting in self.rows() {
            if let Some(default) = setting.default {
                values.defaults.insert(setting.name, default);
            }
            if let Some(flag) = deepest.get_one::<String>(setting.name) {
                values.given.insert(setting.name, (flag.clone(), Source::Flag));
            } else if let Some(variable) = environment(setting.name).filter(|v| !v.is_empty()) {
                values.given.insert(setting.name, (variable, Source::Variable));
            }
        }
        Ok(Invocation { subcommand, values })
    }

    fn rows(&self) -> Vec<&'static Setting> {
        let embedded = self.embeds.iter().flat_map(|program| program.settings);
        let mut rows: Vec<&Setting> = Vec::new();
        for row in self.settings.iter().chain(embedded).copied().flatten() {
            if !self.decides.contains(&row.name) && !rows.iter().any(|known| known.name == row.name) {
                rows.push(row);
            }
        }
        rows
    }

    fn command(&self) -> clap::Command {
        clap::Command::new(self.name)
            .about(self.about)
            .version(env!("CARGO_PKG_VERSION"))
            .after_help("Every flag is also an environment variable of the same name; the flag wins. Durations read 250ms, 20s, 5m, 1h.")
            .disable_help_subcommand(true)
            .subcommands(self.subcommands.iter().map(|(name, about)| clap::Command::new(*name).about(*about)))
            .args(self.rows().into_iter().map(|setting| {
                let default = setting.default.map(|d| format!(" [default: {d}]")).unwrap_or_default();
                clap::Arg::new(setting.name)
                    .long(flag_name(setting.name))
                    .value_name("VALUE")
                    .global(true)
                    .allow_hyphen_values(true)
                    .help(format!("{}{default} [env: {}]", setting.help, setting.name))
            }))
    }
}

fn flag_name(setting: &str) -> String {
    setting.to_ascii_lowercase().replace('_', "-")
}

impl Values {
    /// Sets what a user has not: for a program that embeds another, with its own view of a good default.
    pub fn set_default(&mut self, name: &'static str, value: impl Into<String>) {
        self.given.entry(name).or_insert_with(|| (value.into(), Source::Variable));
    }

    /// Sets what an embedding program decides, over whatever a user gave.
    pub fn decide(&mut self, name: &'static str, value: impl Into<String>) {
        self.given.insert(name, (value.into(), Source::Variable));
    }

    /// Adds another program's defaults, for reading that program's settings from these values.
    pub fn defaults_of(&mut self, program: &Program) {
        for row in program.rows() {
            if let Some(default) = row.default {
                self.defaults.insert(row.name, default);
            }
        }
    }

    /// Whether a user gave it, by flag or variable.
    pub fn is_given(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    /// The text in force: given, or the default.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.given.get(name).map(|(v, _)| v.as_str()).or_else(|| self.defaults.get(name).copied())
    }
}

/// Reads typed settings and remembers what was wrong with them.
#[derive(Debug)]
pub struct Reader<'a> {
    values: &'a Values,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    /// A reader of these.
    pub fn new(values: &'a Values) -> Self {
        Self { values, problems: Vec::new() }
    }

    /// A setting with a default. A bad value is noted, and the default stands in until [`finish`](Self::finish)
    /// refuses them all.
    ///
    /// # Panics
    /// If the table has no default for it, or one that is not accepted: a test of each table rules that out.
    pub fn read<T>(&mut self, name: &'static str, accept: Accept<T>) -> T {
        let default = || {
            let text = self.values.defaults.get(name).copied().expect("a setting read so has a default");
            (accept.parse)(text).expect("a default is accepted")
        };
        match self.values.given.get(name) {
            None => default(),
            Some((text, source)) => (accept.parse)(text).unwrap_or_else(|| {
                self.problems.push(Problem::value(name, *source, text, &accept.says));
                default()
            }),
        }
    }

    /// A setting whose absence means something.
    pub fn optional<T>(&mut self, name: &'static str, accept: Accept<T>) -> Option<T> {
        let (text, source) = self.values.given.get(name)?;
        let parsed = (accept.parse)(text);
        if parsed.is_none() {
            self.problems.push(Problem::value(name, *source, text, &accept.says));
        }
        parsed
    }

    /// Notes something that no single value shows: two settings that exclude each other, one that needs another.
    pub fn object(&mut self, name: &'static str, says: impl Into<String>) {
        let shown = match self.values.text(name) {
            Some(text) => format!("{name}={}", lifeline_escape::Line::new(text).limit(200)),
            None => name.to_owned(),
        };
        self.problems.push(Problem(format!("{shown}: {}", says.into())));
    }

    /// Takes over what another reader found wrong, each problem once.
    pub fn nested<T>(&mut self, read: Result<T, Problems>) -> Option<T> {
        match read {
            Ok(value) => Some(value),
            Err(Problems(problems)) => {
                for problem in problems {
                    if !self.problems.contains(&problem) {
                        self.problems.push(problem);
                    }
                }
                None
            }
        }
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// All that was wrong, a line each.
    pub fn finish(self) -> Result<(), Problems> {
        if self.problems.is_empty() { Ok(()) } else { Err(Problems(self.problems)) }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Problem(String);

impl Problem {
    fn value(name: &str, source: Source, text: &str, says: &str) -> Self {
        // a value is never a credential: those are read by the SDK alone
        let shown = lifeline_escape::Line::new(text).limit(200);
        let from = match source {
            Source::Flag => format!(" (--{})", flag_name(name)),
            Source::Variable => String::new(),
        };
        Self(format!("{name}={shown}{from}: not accepted; it must be {says}"))
    }
}

/// Every bad setting, a line each. A program that gets it prints it and exits with 2.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problems(Vec<Problem>);

impl Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, Problem(line)) in self.0.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            f.write_str(line)?;
        }
        Ok(())
    }
}

type Parse<T> = Box<dyn Fn(&str) -> Option<T>>;

/// What a setting accepts: a test, and the same in words.
pub struct Accept<T> {
    says: String,
    parse: Parse<T>,
}

impl<T> fmt::Debug for Accept<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Accept").field(&self.says).finish()
    }
}

impl<T> Accept<T> {
    /// A test of one's own; `says` completes "it must be …".
    pub fn new(says: impl Into<String>, parse: impl Fn(&str) -> Option<T> + 'static) -> Self {
        Self { says: says.into(), parse: Box::new(parse) }
    }
}

/// A duration within bounds.
pub fn duration(range: RangeInclusive<Duration>) -> Accept<Duration> {
    let says = format!("a duration from {:?} to {:?}, like 250ms, 20s or 5m", range.start(), range.end());
    Accept::new(says, move |text| parse_duration(text).filter(|d| range.contains(d)))
}

/// A whole number within bounds.
pub fn integer(range: RangeInclusive<u64>) -> Accept<u64> {
    let says = match *range.end() {
        u64::MAX => format!("a whole number from {}", range.start()),
        end => format!("a whole number from {} to {end}", range.start()),
    };
    Accept::new(says, move |text| text.parse().ok().filter(|n| range.contains(n)))
}

/// So many things, within bounds.
pub fn count(range: RangeInclusive<usize>) -> Accept<usize> {
    let says = format!("a whole number from {} to {}", range.start(), range.end());
    Accept::new(says, move |text| text.parse().ok().filter(|n| range.contains(n)))
}

/// A number within bounds.
pub fn number(range: RangeInclusive<f64>) -> Accept<f64> {
    let says = format!("a number from {} to {}", range.start(), range.end());
    Accept::new(says, move |text| text.parse().ok().filter(|n| range.contains(n)))
}

/// `true` or `false`; also `1` and `0`, `on` and `off`, `yes` and `no`.
pub fn boolean() -> Accept<bool> {
    Accept::new("true or false", |text| match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "on" | "yes" => Some(true),
        "false" | "0" | "off" | "no" => Some(false),
        _ => None,
    })
}

/// One of a few words.
pub fn choice<T: Clone + 'static>(options: &[(&'static str, T)]) -> Accept<T> {
    let says = options.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(" or ");
    let options = options.to_vec();
    Accept::new(says, move |text| {
        options.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)).map(|(_, value)| value.clone())
    })
}

/// An address to listen on: `0.0.0.0:5000`, `[::]:5000`.
pub fn address() -> Accept<SocketAddr> {
    Accept::new("an address and a port, like 0.0.0.0:5000", |text| text.parse().ok())
}

/// Any text.
pub fn text() -> Accept<String> {
    Accept::new("text", |text| Some(text.to_owned()))
}

/// An `http://` or `https://` address.
pub fn url() -> Accept<String> {
    Accept::new("an address that begins with http:// or https://", |text| {
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"))?;
        (!rest.is_empty() && !rest.starts_with('/')).then(|| text.to_owned())
    })
}

/// `250ms`, `20s`, `5m`, `1h`; a plain `0` too. Whole numbers only.
pub fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(3600).map(Duration::from_secs),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: Program = Program {
        name: "consumer",
        about: "a test",
        subcommands: &[("health", "asks the running service")],
        settings: &[&[
            Setting { name: "POLLERS", default: Some("4"), help: "most receives at once" },
            Setting { name: "WAIT_TIME", default: Some("20s"), help: "long poll" },
            Setting { name: "QUEUE_URL", default: None, help: "the queue" },
        ]],
        embeds: &[],
        decides: &[],
    };

    const EMBEDDING: Program = Program {
        name: "lifeline",
        about: "a test",
        subcommands: &[],
        settings: &[&[Setting { name: "WAIT_TIME", default: Some("1s"), help: "its own default" }]],
        embeds: &[&PROGRAM],
        decides: &["QUEUE_URL"],
    };

    #[test]
    fn an_embedding_program_has_its_own_defaults_and_decides_what_it_says() {
        let environment = |name: &str| (name == "QUEUE_URL").then(|| "http://elsewhere".to_owned());
        let mut values = EMBEDDING.parse(["lifeline", "--pollers", "3"], environment).unwrap().values;
        assert_eq!((values.text("WAIT_TIME"), values.text("POLLERS")), (Some("1s"), Some("3")));
        assert!(!values.is_given("QUEUE_URL"), "what it decides is not taken from the environment");
        values.decide("QUEUE_URL", "http://here");
        assert_eq!(values.text("QUEUE_URL"), Some("http://here"));
        assert!(EMBEDDING.parse(["lifeline", "--queue-url", "x"], |_| None).is_err());
    }

    fn parse(arguments: &[&str], environment: &[(&str, &str)]) -> Invocation {
        let arguments = std::iter::once("consumer").chain(arguments.iter().copied());
        let find = |name: &str| environment.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        PROGRAM.parse(arguments, find).unwrap()
    }

    #[test]
    fn the_flag_wins_over_the_variable_and_the_variable_over_the_default() {
        let asked = parse(&["--pollers", "7"], &[("POLLERS", "8"), ("WAIT_TIME", "3s"), ("QUEUE_URL", "")]);
        let mut reader = Reader::new(&asked.values);
        assert_eq!(reader.read("POLLERS", integer(1..=64)), 7);
        assert_eq!(
            reader.read("WAIT_TIME", duration(Duration::ZERO..=Duration::from_secs(20))),
            Duration::from_secs(3)
        );
        assert_eq!(reader.optional("QUEUE_URL", text()), None, "an empty variable is unset");
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn every_bad_value_is_named_at_once_with_what_is_accepted() {
        let asked = parse(&["--pollers", "many"], &[("WAIT_TIME", "21s")]);
        let mut reader = Reader::new(&asked.values);
        let _: u64 = reader.read("POLLERS", integer(1..=64));
        let _: Duration = reader.read("WAIT_TIME", duration(Duration::ZERO..=Duration::from_secs(20)));
        let said = reader.finish().unwrap_err().to_string();
        assert_eq!(
            said.lines().collect::<Vec<_>>(),
            [
                "POLLERS=many (--pollers): not accepted; it must be a whole number from 1 to 64",
                "WAIT_TIME=21s: not accepted; it must be a duration from 0ns to 20s, like 250ms, 20s or 5m",
            ]
        );
    }

    #[test]
    fn help_lists_every_setting_with_its_default() {
        let help = PROGRAM.command().render_long_help().to_string();
        for expected in
            ["--pollers", "[default: 4]", "[env: POLLERS]", "--wait-time", "--queue-url", "health"]
        {
            assert!(help.contains(expected), "{expected} is missing in {help}");
        }
    }

    #[test]
    fn a_subcommand_takes_the_same_settings_before_and_behind_it() {
        for arguments in [&["health", "--pollers", "2"], &["--pollers", "2", "health"]] {
            let asked = parse(arguments, &[]);
            assert_eq!(asked.subcommand, Some("health"));
            assert_eq!(asked.values.text("POLLERS"), Some("2"));
        }
    }

    #[test]
    fn durations_read_as_the_contract_says() {
        for (text, expected) in [
            ("250ms", Some(Duration::from_millis(250))),
            ("20s", Some(Duration::from_secs(20))),
            ("5m", Some(Duration::from_secs(300))),
            ("1h", Some(Duration::from_secs(3600))),
            ("0", Some(Duration::ZERO)),
            ("20", None),
            ("s", None),
            ("-1s", None),
            ("1.5s", None),
            ("99999999999999999999s", None),
            ("18446744073709551615m", None),
        ] {
            assert_eq!(parse_duration(text), expected, "{text}");
        }
    }
}
