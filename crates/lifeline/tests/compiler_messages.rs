//! What the compiler says about a wrong handler, word for word: its messages are part of the interface.
//!
//! `TRYBUILD=overwrite cargo test -p lifeline --test compiler_messages` writes them anew; read them before you commit them.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test")]

use std::process::Command;

/// The toolchain that the repository is built with. Another one has other words.
fn pinned() -> String {
    let toolchain = include_str!("../../../rust-toolchain.toml");
    let channel = toolchain.lines().find_map(|line| line.strip_prefix("channel = ")).unwrap();
    channel.trim_matches('"').to_owned()
}

#[test]
fn a_wrong_handler_is_reported_as_what_it_is() {
    let rustc = Command::new(std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned()))
        .arg("--version")
        .output()
        .unwrap();
    let version = String::from_utf8(rustc.stdout).unwrap();
    let pinned = pinned();
    if version.split(' ').nth(1) != Some(&pinned) {
        eprintln!("skipped: the messages are those of rustc {pinned}, and this is {}", version.trim());
        return;
    }
    trybuild::TestCases::new().compile_fail("tests/compiler_messages/*.rs");
}
