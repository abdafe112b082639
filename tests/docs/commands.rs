//! Commands in documents exist and take the arguments that are written.
//!
//! Each `sluice` line of a shell block is given to the binary with `--help` behind it: arguments
//! are parsed, nothing is done. Not here: running them.

use std::collections::BTreeSet;
use std::process::Command;

use regex::Regex;

use super::blocks::blocks;
use super::{documents, none, root, text};

fn sluice(arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
    let output = command.args(arguments).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

fn subcommands() -> BTreeSet<String> {
    let (_, help) = sluice(&["--help"]);
    let (_, list) = help.split_once("Commands:").expect("a list of commands");
    let line = Regex::new(r"(?m)^  ([a-z]+)\b").unwrap();
    let (list, _) = list.split_once("\n\n").expect("a list that ends");
    line.captures_iter(list)
        .map(|found| found[1].to_owned())
        .collect()
}

/// Lines of shell blocks without comments, each command of a pipe apart.
fn shell() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (name, document) in documents() {
        for block in blocks(&document) {
            if !["sh", "console", "bash"].contains(&block.language.as_str()) {
                continue;
            }
            let text = block.text.replace("\\\n", " ");
            for line in text.lines() {
                let line = line.split(" #").next().unwrap_or_default();
                let line = line.trim_start_matches("$ ");
                let place = format!("{name}:{}", block.line);
                all.extend(
                    line.split(" | ")
                        .map(|part| (place.clone(), part.trim().to_owned())),
                );
            }
        }
    }
    all
}

/// The words of a command without variables that are set for it.
fn words(command: &str) -> Vec<&str> {
    let words = command.split_whitespace();
    words
        .skip_while(|word| word.contains('=') && word.starts_with(|c: char| c.is_ascii_uppercase()))
        .collect()
}

#[test]
fn every_command_that_is_named_exists() {
    let known = subcommands();
    assert!(known.contains("run") && known.contains("lint"), "{known:?}");
    let named = Regex::new(r#"(?m)(?:^|[\s`"|(])sluice +([a-z]+)"#).unwrap();
    let mut problems = Vec::new();
    for (name, document) in documents() {
        for found in named.captures_iter(&document) {
            if !known.contains(&found[1]) && &found[1] != "help" {
                problems.push(format!("{name}: there is no `sluice {}`", &found[1]));
            }
        }
    }
    none(&problems);
}

#[test]
fn every_command_line_is_understood() {
    let mut problems = Vec::new();
    let mut seen = 0;
    for (place, command) in shell() {
        let words = words(&command);
        let Some(("sluice", arguments)) = words.split_first().map(|(first, rest)| (*first, rest))
        else {
            continue;
        };
        seen += 1;
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--help"]).collect();
        let (fine, said) = sluice(&arguments);
        if !fine {
            problems.push(format!("{place}: {command}\n{said}"));
        }
    }
    none(&problems);
    assert!(seen > 20, "only {seen} commands were found");
}

#[test]
fn every_make_target_exists() {
    let makefile = text("Makefile");
    let mut problems = Vec::new();
    for (place, command) in shell() {
        if let ["make", target] = words(&command)[..]
            && !makefile
                .lines()
                .any(|line| line.starts_with(&format!("{target}:")))
        {
            problems.push(format!("{place}: {command}"));
        }
    }
    none(&problems);
}

#[test]
fn every_path_in_a_command_is_there() {
    let ours = ["scenarios/", "clusters/", "rules/", "docs/", "dashboards/"];
    let mut problems = Vec::new();
    for (place, command) in shell() {
        for word in words(&command) {
            let path = word.split('*').next().unwrap_or_default();
            if ours.iter().any(|folder| path.starts_with(folder)) && !root().join(path).exists() {
                problems.push(format!("{place}: {word}"));
            }
        }
    }
    none(&problems);
}
