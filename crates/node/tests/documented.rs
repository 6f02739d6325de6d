//! Compares `docs/configuration.md` with the binary: every key, every variable, every flag, and the defaults. The
//! meaning of the keys is tested beside the code.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::process::{Command, Output};

const PAGE: &str = include_str!("../../../docs/configuration.md");

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sfumato"));
    command.args(args);
    // Variables of the machine must not change the result.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SFUMATO_")) {
        command.env_remove(name);
    }
    command
}

fn sfumato(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

fn printed(args: &[&str]) -> String {
    let output = sfumato(args);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The keys or sections that the binary names when it meets this unknown key.
fn known(stranger: &str) -> Vec<String> {
    let output = sfumato(&["check-config", "--set", &format!("{stranger}=1")]);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    let (_, list) = text.trim().split_once("known: ").unwrap();
    list.split(", ").map(str::to_owned).collect()
}

fn keys() -> BTreeSet<String> {
    let sections = known("nothing");
    let sections = sections.iter().map(|section| section.trim_matches(['[', ']']));
    sections.flat_map(|section| known(&format!("{section}.nothing"))).collect()
}

/// The first two cells of the table rows that begin with a key.
fn rows() -> Vec<(String, String)> {
    let cell = |text: &str| text.trim().trim_matches('`').to_owned();
    let rows = PAGE.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let mut cells = row.split('|').skip(1);
        (cell(cells.next().unwrap()), cell(cells.next().unwrap()))
    })
    .collect()
}

/// The example file with all keys.
fn example() -> &'static str {
    let (_, rest) = PAGE.split_once("```toml\n").unwrap();
    rest.split_once("```").unwrap().0
}

#[test]
fn every_key_has_a_row_and_every_row_a_key() {
    let rows = rows();
    let named: BTreeSet<String> = rows.iter().map(|(key, _)| key.clone()).collect();
    assert_eq!(named.len(), rows.len(), "a key stands twice");
    assert_eq!(named, keys());
    for (key, variable) in rows {
        assert_eq!(variable, format!("SFUMATO_{}", key.replace('.', "_").to_uppercase()));
    }
}

#[test]
fn every_variable_is_read() {
    for (key, variable) in rows() {
        // Most keys refuse this value; those that take any text show it.
        let output = command(&["check-config"]).env(&variable, "\u{7}|").output().unwrap();
        let text =
            String::from_utf8(output.stderr).unwrap() + &String::from_utf8(output.stdout).unwrap();
        let refused =
            output.status.code() == Some(2) && text.starts_with(&format!("sfumato: {key} = "));
        let taken = output.status.success() && text.contains("\\u{7}|");
        assert!(refused || taken, "{variable}: {text}");
    }
}

#[test]
fn every_flag_is_named() {
    let help = printed(&["serve", "--help"]);
    let flags: BTreeSet<&str> = help
        .split_ascii_whitespace()
        .filter(|word| word.starts_with("--") && word.len() > 2)
        .collect();
    assert!(flags.contains("--config") && flags.contains("--set"), "{help}");
    for flag in flags.into_iter().filter(|&flag| flag != "--help") {
        assert!(PAGE.contains(&format!("`{flag}")), "{flag}");
    }
}

#[test]
fn the_file_with_all_defaults_changes_nothing() {
    let mut section = "";
    let mut named = BTreeSet::new();
    for line in example().lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if let Some((key, _)) = line.trim_start_matches("# ").split_once(" = ") {
            named.insert(format!("{section}.{key}"));
        }
    }
    assert_eq!(named, keys());

    let name = format!("sfumato-documented-{}.toml", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, example()).unwrap();
    let with = printed(&["check-config", "--config", path.to_str().unwrap()]);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(with, printed(&["check-config"]));
}
