//! The command line's own documentation: completions, man pages, and that every `--help` ends with examples.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::{Command, Output};

use clap::CommandFactory;

fn lifeline(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lifeline")).args(arguments).output().unwrap()
}

fn out(arguments: &[&str]) -> String {
    let output = lifeline(arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Every command without commands of its own, and those with them.
fn commands(command: &clap::Command, path: &str) -> Vec<(String, clap::Command)> {
    let own = std::iter::once((path.to_owned(), command.clone()));
    let children = command.get_subcommands().flat_map(|child| {
        let name = format!("{path} {}", child.get_name());
        commands(child, name.trim())
    });
    own.chain(children).collect()
}

#[test]
fn every_help_has_headings_and_three_examples() {
    for (path, command) in commands(&lifeline_cli::args::Cli::command(), "") {
        let help = command.clone().render_help().to_string();
        let examples = help.split_once("Examples:\n").unwrap_or_else(|| panic!("{path}: no examples")).1;
        let examples: Vec<_> = examples.lines().map(str::trim).collect();
        assert!(examples.len() >= 3, "{path}: {examples:?}");
        let named = if path.is_empty() { "lifeline".to_owned() } else { format!("lifeline {path}") };
        assert!(examples.iter().all(|example| example.contains("lifeline")), "{path}: {examples:?}");
        assert!(examples.iter().any(|example| example.contains(&named)), "{path}: {examples:?}");
        let options =
            command.get_arguments().filter(|arg| !arg.is_positional() && arg.get_help_heading().is_none());
        let alone: Vec<_> = options.map(|arg| arg.get_id().to_string()).collect();
        assert!(
            alone.iter().all(|id| ["version", "help", "out"].contains(&id.as_str())),
            "{path}: no heading for {alone:?}"
        );
    }
}

#[test]
fn the_examples_are_accepted() {
    for (path, command) in commands(&lifeline_cli::args::Cli::command(), "") {
        let help = command.clone().render_help().to_string();
        for line in help.split_once("Examples:\n").unwrap().1.lines() {
            // the first command of the line, without what is explained, redirected or piped after it
            let Some(words) = words(line) else { panic!("{path}: {line}") };
            let parsed = lifeline_cli::args::Cli::command().try_get_matches_from(&words);
            assert!(parsed.is_ok(), "{path}: {line}: {}", parsed.unwrap_err());
        }
    }
}

/// The words of the first command of a line of a shell, up to a pipe, a redirection or an explanation after two blanks.
fn words(line: &str) -> Option<Vec<String>> {
    let line = line.trim();
    let line = line.split_once("  ").map_or(line, |(command, _)| command);
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for c in line.chars() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (None, '|' | '<' | '>' | '&') => break,
            (None, ' ') => words.push(std::mem::take(&mut word)),
            _ => word.push(c),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    (words.first()? == "lifeline" && quote.is_none()).then_some(words)
}

#[test]
fn shells_complete_commands_and_flags() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = out(&["completions", shell]);
        assert!(script.contains("redrive") && script.contains("dry-run"), "{shell}");
    }
    // what bash offers after `lifeline dlq redrive --ra`
    let script = out(&["completions", "bash"]);
    let asked = format!(
        "{script}\nCOMP_WORDS=(lifeline dlq redrive --ra)\nCOMP_CWORD=3\n_lifeline lifeline --ra redrive\necho \"${{COMPREPLY[@]}}\""
    );
    let bash = Command::new("bash").args(["--norc", "-c", &asked]).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&bash.stdout),
        "--rate\n",
        "{}",
        String::from_utf8_lossy(&bash.stderr)
    );
}

#[test]
fn each_command_has_a_page() {
    let page = out(&["man", "dlq", "redrive"]);
    assert!(
        page.contains("lifeline\\-dlq\\-redrive")
            && page.contains("EXTRA")
            && page.contains("lifeline dlq redrive"),
        "{page}"
    );
    let folder = std::env::temp_dir().join(format!("lifeline-man-{}", std::process::id()));
    out(&["man", "--out", folder.to_str().unwrap()]);
    let pages = std::fs::read_dir(&folder).unwrap().count();
    assert!(folder.join("lifeline-tail-topic.1").exists() && pages > 15, "{pages}");
    std::fs::remove_dir_all(&folder).unwrap();
    let output = lifeline(&["man", "nope"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no command nope"));
}

#[test]
fn a_typo_is_answered_with_what_was_meant() {
    for (arguments, meant) in
        [(["doctr", "--fix"], "'doctor'"), (["dlq", "redrvie"], "'redrive'"), (["tail", "toppic"], "'topic'")]
    {
        let output = lifeline(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(meant), "{arguments:?}");
    }
}
