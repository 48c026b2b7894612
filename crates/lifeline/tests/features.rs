//! What each set of features brings along, as `cargo tree` sees it.

#![allow(clippy::unwrap_used, reason = "as in any test")]

use std::collections::BTreeSet;
use std::process::Command;

/// What only a whole service needs.
const OF_A_SERVICE: [&str; 5] = ["clap", "tiny_http", "tracing-subscriber", "lifeline-service", "anyhow"];

/// What only a binary chooses.
const OF_A_BINARY: &str = "mimalloc";

/// The packages that `lifeline` with these features is built from.
fn packages(arguments: &[&str]) -> BTreeSet<String> {
    let tree = ["tree", "--offline", "--locked", "--package=lifeline", "--edges=normal", "--prefix=none"];
    let output = Command::new(env!("CARGO")).args(tree).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().filter_map(|line| line.split(' ').next().map(str::to_owned)).collect()
}

#[test]
fn a_library_brings_no_service_along() {
    for (features, other) in [("consumer", "lifeline-producer"), ("producer", "lifeline-consumer")] {
        let packages = packages(&["--no-default-features", "--features", features]);
        assert!(packages.contains(&format!("lifeline-{features}")), "{packages:?}");
        for absent in OF_A_SERVICE.iter().chain([&other, &OF_A_BINARY]) {
            assert!(!packages.contains(*absent), "{features} brings {absent}");
        }
    }
}

#[test]
fn a_service_brings_all_it_needs() {
    let packages = packages(&[]);
    for present in OF_A_SERVICE.iter().chain(&["lifeline-producer"]) {
        assert!(packages.contains(*present), "{present} is missing");
    }
    assert!(!packages.contains(OF_A_BINARY), "the allocator is the user's choice");
}
