//! How clap reads the environment: an empty variable counts as unset, and a program may prefix its variables.

use std::env;

use clap::builder::Resettable;

/// Variables that belong to others and never get a program's prefix: those of the AWS SDKs, OpenTelemetry and Rust's logs.
const FOREIGN: [&str; 3] = ["AWS_", "OTEL_", "RUST_LOG"];

/// Makes each argument read `prefix` + its variable, and treats an empty variable as unset, because Kubernetes manifests
/// often contain one. Subcommands are included. `--help` names the variables, and never shows their values.
#[must_use]
pub fn read_environment(command: clap::Command, prefix: &'static str) -> clap::Command {
    let command = command.mut_args(|arg| {
        let Some(name) = arg.get_env().map(|name| name.to_string_lossy().into_owned()) else { return arg };
        let name = if FOREIGN.iter().any(|foreign| name.starts_with(foreign)) {
            name
        } else {
            format!("{prefix}{name}")
        };
        let empty = env::var_os(&name).is_some_and(|value| value.is_empty());
        if empty {
            return arg.env(Resettable::Reset);
        }
        arg.env(name).hide_env_values(true)
    });
    command.mut_subcommands(|subcommand| read_environment(subcommand, prefix))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use clap::{CommandFactory, FromArgMatches, Parser};

    use super::super::{Checked, Problems, integer, text};
    use super::*;

    #[derive(Parser, Debug)]
    struct Args {
        #[arg(long, env = "POLLERS", default_value = "4", value_parser = integer::<usize>(1..=256))]
        pollers: Checked<usize>,
        #[arg(long, env = "AWS_REGION", value_parser = text())]
        aws_region: Option<Checked<String>>,
    }

    fn read(arguments: &[&str], prefix: &'static str) -> String {
        let command = read_environment(Args::command(), prefix);
        let matches = command.try_get_matches_from(arguments).unwrap();
        let args = Args::from_arg_matches(&matches).unwrap();
        let mut problems = Problems::new(prefix);
        let (pollers, region) = (problems.value(args.pollers), problems.optional(args.aws_region));
        match problems.finish() {
            Ok(_) => format!("{pollers} {region:?}"),
            Err(problems) => problems.to_string(),
        }
    }

    /// The environment of a process can only be set from outside.
    #[test]
    fn variables_are_read_with_the_prefix_and_empty_ones_are_unset() {
        const CHILD: &str = "SERVICE_TEST_PREFIX";
        if let Ok(prefix) = env::var(CHILD) {
            let prefix = if prefix == "none" { "" } else { "LIFELINE_" };
            println!("<{}>", read(&["test"], prefix));
            println!("<{}>", read(&["test", "--pollers=9"], prefix));
            return;
        }
        let run = |prefix: &str, variables: &[(&str, &str)]| {
            let output = Command::new(env::current_exe().unwrap())
                .args(["--exact", "--nocapture"])
                .arg("settings::environment::tests::variables_are_read_with_the_prefix_and_empty_ones_are_unset")
                .env_remove("AWS_REGION")
                .env(CHILD, prefix)
                .envs(variables.iter().copied())
                .output()
                .unwrap();
            let printed = String::from_utf8(output.stdout).unwrap();
            let lines = printed.lines().filter_map(|line| line.split_once('<')?.1.strip_suffix('>'));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(run("none", &[("POLLERS", "7"), ("AWS_REGION", "x")]), ["7 Some(\"x\")", "9 Some(\"x\")"]);
        assert_eq!(run("none", &[("POLLERS", ""), ("AWS_REGION", "")]), ["4 None", "9 None"]);
        let prefixed = [("POLLERS", "7"), ("LIFELINE_POLLERS", "8"), ("AWS_REGION", "x")];
        assert_eq!(run("lifeline", &prefixed), ["8 Some(\"x\")", "9 Some(\"x\")"]);
        let bad = run("lifeline", &[("LIFELINE_POLLERS", "0")]);
        assert_eq!(bad[0], "LIFELINE_POLLERS=0: invalid value; expected a whole number from 1 to 256");
    }

    #[test]
    fn help_names_the_prefixed_variable() {
        let help = read_environment(Args::command(), "LIFELINE_").render_help().to_string();
        assert!(help.contains("[env: LIFELINE_POLLERS]") && help.contains("[env: AWS_REGION]"), "{help}");
    }
}
