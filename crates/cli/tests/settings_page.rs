//! Holds `docs/settings.md` to the command lines of the programs. `UPDATE=1 cargo test -p lifeline-cli --test settings_page`
//! writes it anew.

#![allow(clippy::unwrap_used, reason = "as in any test")]

use std::env;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use clap::{Arg, Command, CommandFactory};

const HEAD: &str = "\
# Settings

Every setting is an environment variable and a flag: `MAX_IN_FLIGHT` and `--max-in-flight`. The flag wins, and an empty variable counts as
unset. For `lifeline` the variables begin with `LIFELINE_`, so that those of other programs in the same shell change nothing, and the
`WAIT_TIME` of `lifeline up` is `1s`. Durations are written `250ms`, `20s`, `5m`, `1h`. Invalid settings end a program before it opens a port or calls AWS, with exit code 2 and
[one line for each](troubleshooting.md#settings). On Kubernetes they are the [ConfigMaps](../kustomize/README.md#your-own-overlay)
`producer` and `consumer`.

Credentials come from the AWS SDK's chain: variables, profile, web identity, Pod Identity, instance. `HTTPS_PROXY`, `NO_PROXY`, `SSL_CERT_FILE`
and `AWS_CA_BUNDLE` are respected, and the [variables of OpenTelemetry](tracing.md).

This page is made from the programs by `UPDATE=1 cargo test -p lifeline-cli --test settings_page`.
";

/// A line of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Setting {
    heading: String,
    name: String,
    default: String,
    help: String,
}

impl Setting {
    fn of(arg: &Arg) -> Self {
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        // a default that depends on something is part of the help
        let (help, stated) = match help.split_once(" [default: ") {
            Some((help, rest)) => {
                let (default, rest) = rest.split_once(']').unwrap();
                (format!("{help}{rest}"), Some(default.to_owned()))
            }
            None => (help, None),
        };
        let values = arg.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy()));
        let default = values.collect::<Vec<_>>().join(", ");
        Self {
            heading: arg.get_help_heading().unwrap_or("Options").to_owned(),
            name: name_of(arg),
            default: stated.unwrap_or(default).replace('|', "\\|"),
            help: help.replace('|', "\\|"),
        }
    }
}

fn name_of(arg: &Arg) -> String {
    if let Some(variable) = arg.get_env() {
        return variable.to_string_lossy().into_owned();
    }
    let values = arg.get_value_names().unwrap_or_default().join(" ");
    match arg.get_long() {
        Some(long) if arg.get_action().takes_values() => format!("--{long} {values}"),
        Some(long) => format!("--{long}"),
        None => values,
    }
}

fn settings(command: &Command) -> Vec<Setting> {
    let shown = command.get_arguments().filter(|arg| !arg.is_hide_set() && arg.get_id() != "version");
    shown.map(Setting::of).collect()
}

/// A table with a row for each heading, in the order of `--help`.
fn table(page: &mut String, settings: &[Setting], prefix: &str) {
    let mut heading = "Options";
    page.push_str("\n| setting | default | |\n| --- | --- | --- |\n");
    for setting in settings {
        if heading != setting.heading {
            heading = &setting.heading;
            writeln!(page, "| **{heading}** | | |").unwrap();
        }
        let foreign = setting.name.starts_with(['-', '[']) || !setting.name.contains(char::is_uppercase);
        let prefix = if foreign || ["BODY", "ID", "SHELL", "COMMAND"].contains(&setting.name.as_str()) {
            ""
        } else {
            prefix
        };
        writeln!(page, "| `{prefix}{}` | {} | {} |", setting.name, setting.default, setting.help).unwrap();
    }
}

/// A command and the commands in it, by their names on the command line.
fn with_children(name: String, command: &Command) -> Vec<(String, &Command)> {
    let children = command
        .get_subcommands()
        .flat_map(|child| with_children(format!("{name} {}", child.get_name()), child));
    let children: Vec<_> = children.collect();
    if children.is_empty() { vec![(name, command)] } else { children }
}

fn page() -> String {
    let producer = settings(&lifeline_producer::service::Args::command());
    let consumer = settings(&lifeline_consumer::service::Args::command());
    let (both, only_producer): (Vec<_>, Vec<_>) =
        producer.into_iter().partition(|setting| consumer.contains(setting));
    let only_consumer: Vec<_> = consumer.into_iter().filter(|setting| !both.contains(setting)).collect();

    let mut page = HEAD.to_owned();
    page.push_str("\n## Consumer\n");
    table(&mut page, &only_consumer, "");
    page.push_str("\n## Producer\n");
    table(&mut page, &only_producer, "");
    page.push_str("\n## Both\n");
    table(&mut page, &both, "");

    let cli = lifeline_cli::args::Cli::command();
    for (name, subcommand) in
        cli.get_subcommands().flat_map(|command| with_children(command.get_name().to_owned(), command))
    {
        let about = subcommand.get_about().map(ToString::to_string).unwrap_or_default();
        write!(page, "\n## `lifeline {name}`\n\n{about}.").unwrap();
        let (shared, own): (Vec<_>, Vec<_>) = settings(subcommand).into_iter().partition(|setting| {
            [&both, &only_producer, &only_consumer].iter().any(|all| all.contains(setting))
        });
        let mut headings: Vec<_> = shared.iter().map(|setting| format!("*{}*", setting.heading)).collect();
        headings.dedup();
        if !headings.is_empty() {
            write!(page, " It also takes settings from {}.", headings.join(", ")).unwrap();
        }
        page.push('\n');
        if !own.is_empty() {
            table(&mut page, &own, lifeline_cli::args::PREFIX);
        }
    }
    page
}

#[test]
fn the_page_of_settings_is_what_the_programs_take() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/settings.md");
    let page = page();
    if env::var_os("UPDATE").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let checked_in = fs::read_to_string(&path).unwrap_or_default();
    let differs = page.lines().zip(checked_in.lines()).find(|(made, read)| made != read);
    assert!(
        page == checked_in,
        "docs/settings.md is out of date, first at {differs:?}: UPDATE=1 cargo test -p lifeline-cli --test settings_page"
    );
}
