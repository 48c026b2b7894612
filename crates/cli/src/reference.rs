//! `lifeline completions` and `lifeline man`: what shells and `man` know of the command line, made from it.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap_complete::Shell;
use clap_mangen::Man;

/// The settings of `completions`.
#[derive(clap::Args, Debug, Clone)]
#[command(after_help = COMPLETIONS_HELP)]
pub struct CompletionsArgs {
    /// The shell that completes
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

const COMPLETIONS_HELP: &str = "\
Examples:
  lifeline completions bash >~/.local/share/bash-completion/completions/lifeline
  lifeline completions zsh >\"${fpath[1]}/_lifeline\"
  lifeline completions fish >~/.config/fish/completions/lifeline.fish";

/// The settings of `man`.
#[derive(clap::Args, Debug, Clone)]
#[command(after_help = MAN_HELP)]
pub struct ManArgs {
    /// Command whose page is printed [default: the page of lifeline]
    #[arg(value_name = "COMMAND")]
    pub command: Vec<String>,

    /// Folder that every page is written to, instead of printing one
    #[arg(long, value_name = "FOLDER", conflicts_with = "command")]
    pub out: Option<PathBuf>,
}

const MAN_HELP: &str = "\
Examples:
  lifeline man | man -l -
  lifeline man dlq redrive | man -l -
  lifeline man --out ~/.local/share/man/man1";

/// Prints what the shell reads.
///
/// # Errors
/// Standard output cannot be written.
pub fn completions(args: &CompletionsArgs, mut command: clap::Command) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "lifeline", &mut script);
    written(io::stdout().write_all(&script))
}

/// Prints a page, or writes all of them.
///
/// # Errors
/// There is no such command, or the folder cannot be written.
pub fn man(args: &ManArgs, mut command: clap::Command) -> anyhow::Result<ExitCode> {
    if let Some(folder) = &args.out {
        let all = || {
            std::fs::create_dir_all(folder)?;
            clap_mangen::generate_to(command, folder)
        };
        all().with_context(|| format!("{}: cannot be written", folder.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    // gives every command the names before its own
    command.build();
    let mut page = &command;
    for name in &args.command {
        page = page
            .find_subcommand(name)
            .with_context(|| format!("there is no command {name}; see lifeline --help"))?;
    }
    let mut text = Vec::new();
    let name = page.get_display_name().unwrap_or("lifeline").to_owned();
    Man::new(page.clone().name(name)).render(&mut text)?;
    written(io::stdout().write_all(&text))
}

/// A reader that has enough, as in `lifeline man | head`, is no failure.
fn written(result: io::Result<()>) -> anyhow::Result<ExitCode> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}
