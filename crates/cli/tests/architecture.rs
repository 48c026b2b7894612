//! Holds the code to the order of imports that `docs/architecture.md` gives: what stands left of `>` may import what
//! stands right of it, and nothing else of ours.

#![allow(clippy::unwrap_used, reason = "as in any test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The allowed order of one folder: `consumer`, or `consumer/lease`. A smaller number stands further left, which is higher.
type Order = BTreeMap<String, usize>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The orders by folder, from the block fenced by ```` ```order ````. A line that begins with a blank goes on with the last.
fn orders() -> BTreeMap<String, Order> {
    let page = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let block = page.split("```order\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let block = block.replace("\n ", " ");
    let line = |line: &str| {
        let (folder, order) = line.split_once(':').unwrap_or_else(|| panic!("no folder in {line:?}"));
        let ranks = order.split('>').enumerate();
        let order =
            ranks.flat_map(|(rank, names)| names.split_whitespace().map(move |n| (n.to_owned(), rank)));
        (folder.trim().to_owned(), order.collect())
    };
    block.lines().filter(|text| !text.trim().is_empty()).map(line).collect()
}

fn rust_files(folder: &Path, into: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            rust_files(&path, into);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            into.push(path);
        }
    }
}

/// A file's code without comments and without its tests, one line for each of its own.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let uncommented = text.lines().map(|line| line.find("//").map_or(line, |at| &line[..at]));
    uncommented.collect::<Vec<_>>().join("\n")
}

/// The paths that follow `prefix` in the code, each with its line: `crate::{a::B, c}` gives `a::B` and `c`.
fn paths<'a>(code: &'a str, prefix: &str) -> Vec<(usize, &'a str)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let line = code[..at].matches('\n').count() + 1;
        let rest = &code[at + prefix.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            found.push((line, rest));
            continue;
        };
        let (mut depth, mut start) = (1, 0);
        for (i, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 || (depth == 1 && c == ',') {
                let path = group[start..i].trim();
                // a list may end with a comma
                if !path.is_empty() {
                    found.push((line, path));
                }
                start = i + 1;
            }
            if depth == 0 {
                break;
            }
        }
    }
    found
}

/// The modules at the beginning of a path: `lease::view::View` is `[lease, view]`.
fn modules(path: &str) -> Vec<&str> {
    let end = path.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(path.len());
    let names = path[..end].split("::").filter(|name| !name.is_empty());
    names.take_while(|name| name.starts_with(|c: char| c.is_lowercase())).collect()
}

/// The module of a file below `src`: `lease/view.rs` is `[lease, view]`, `lease/mod.rs` and `lib.rs` stand above theirs.
fn module_of(file: &Path) -> Vec<String> {
    let names = file.with_extension("");
    let mut names: Vec<String> = names.iter().map(|name| name.to_string_lossy().into_owned()).collect();
    if names.last().is_some_and(|name| ["mod", "lib", "main"].contains(&name.as_str())) {
        names.pop();
    }
    names
}

/// Says what is wrong with `from` importing `to`, both below the root of a crate.
fn objection(orders: &BTreeMap<String, Order>, name: &str, from: &[String], to: &[String]) -> Option<String> {
    let mut folder = name.to_owned();
    for depth in 0.. {
        let order = orders.get(&folder)?;
        // a folder's own file and what names no module further down are above what is in it
        let (Some(from), Some(to)) = (from.get(depth), to.get(depth)) else { return None };
        let rank = |module: &String| order.get(module).copied();
        if from != to {
            return match (rank(from), rank(to)) {
                (Some(above), Some(below)) if above < below => None,
                (Some(_), Some(_)) => Some(format!("{from} may not import {to}")),
                (None, _) => Some(format!("{from} is missing from the order of {folder}")),
                // not a module: a function or a macro of the folder's own file
                (_, None) => None,
            };
        }
        folder = format!("{folder}/{from}");
    }
    None
}

#[test]
fn imports_between_modules_follow_the_documented_order() {
    let orders = orders();
    let mut wrong = Vec::new();
    for name in orders.keys().filter(|name| !name.contains('/') && *name != "crates") {
        let source = root().join("crates").join(name).join("src");
        let mut files = Vec::new();
        rust_files(&source, &mut files);
        for file in files {
            let below = file.strip_prefix(&source).unwrap();
            let from = module_of(below);
            let code = code(&file);
            let mut imports = Vec::new();
            for (line, path) in paths(&code, "crate::") {
                let to = modules(path);
                if to.is_empty() && !from.is_empty() {
                    let item = path.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
                    let place = format!("crates/{name}/src/{}:{line}", below.display());
                    wrong.push(format!(
                        "{place}: {item} is imported by the root of the crate; name its module"
                    ));
                }
                imports.push((line, to.into_iter().map(str::to_owned).collect::<Vec<_>>()));
            }
            // a `mod.rs` has its modules below it, every other file beside it
            if !file.ends_with("mod.rs") {
                let parent = &from[..from.len().saturating_sub(1)];
                for (line, path) in paths(&code, "super::") {
                    let siblings = modules(path).into_iter().map(str::to_owned);
                    imports.push((line, parent.iter().cloned().chain(siblings).collect()));
                }
            }
            for (line, to) in imports {
                if let Some(objection) = objection(&orders, name, &from, &to) {
                    wrong.push(format!("crates/{name}/src/{}:{line}: {objection}", below.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "against the order in docs/architecture.md:\n{}", wrong.join("\n"));
}

#[test]
fn crates_depend_in_the_documented_order() {
    let orders = orders();
    let order = &orders["crates"];
    let mut wrong = Vec::new();
    for entry in fs::read_dir(root().join("crates")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(above) = order.get(&name) else {
            wrong.push(format!("crates/{name} is missing from the order of crates"));
            continue;
        };
        let manifest = fs::read_to_string(root().join("crates").join(&name).join("Cargo.toml")).unwrap();
        let mut section = "";
        for (at, line) in manifest.lines().enumerate() {
            if line.starts_with('[') {
                section = line;
            }
            let package = line.split(['.', ' ', '=']).next().unwrap_or_default();
            let (true, Some(package)) = (section == "[dependencies]", package.strip_prefix("lifeline-"))
            else {
                continue;
            };
            if order.get(package).is_none_or(|below| below <= above) {
                wrong
                    .push(format!("crates/{name}/Cargo.toml:{}: {name} may not depend on {package}", at + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "against the order in docs/architecture.md:\n{}", wrong.join("\n"));
}

/// Without `biased`, `select!` draws lots from a generator of tokio's own, and no seed repeats a run.
#[test]
fn every_select_is_biased() {
    let mut files = Vec::new();
    for krate in fs::read_dir(root().join("crates")).unwrap() {
        rust_files(&krate.unwrap().path().join("src"), &mut files);
    }
    let mut found = 0;
    for file in &files {
        let code = code(file);
        for (at, what) in code.match_indices("select! {") {
            found += 1;
            let line = code[..at].lines().count();
            assert!(
                code[at + what.len()..].trim_start().starts_with("biased;"),
                "{}:{line}: this select! does not begin with `biased;`",
                file.display()
            );
        }
    }
    assert!(found > 20, "{found}");
}
