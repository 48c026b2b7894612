//! What the tests of the operator's commands share: the program, set to an endpoint, and what it printed.
#![allow(dead_code, reason = "not every test uses all of it")]

use std::process::{Command, Output, Stdio};

/// `lifeline ARGUMENTS`, for SNS and SQS at this endpoint.
pub(crate) fn lifeline(endpoint: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lifeline"));
    command
        .args(arguments)
        .args(["--aws-endpoint-url", endpoint, "--aws-region", "us-east-1"])
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("RUST_LOG", "warn")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// What it printed, and then its errors.
pub(crate) fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
