//! The table of settings is generated from the commented defaults.

use std::fmt::Write as _;

use miniapp_accounts::TokenConfig;
use miniapp_config::{Config, PLATFORM};

use crate::readme::pages::{Generated, cell, pages, read};

const TABLE: Generated = Generated { page: "docs/reference/settings.md", name: "settings" };

/// One table per section, one row per setting: its name, its default and its comment.
fn tables() -> String {
    const HEAD: &str = "| setting | default | description |\n|---|---|---|\n";
    let mut tables = HEAD.to_owned();
    let (mut section, mut comment) = (String::new(), Vec::new());
    for line in PLATFORM.defaults.lines() {
        if let Some(text) = line.strip_prefix('#') {
            comment.push(text.trim());
        } else if let Some(name) = line.strip_prefix('[') {
            let name = name.trim_end_matches(']');
            section = format!("{name}.");
            write!(tables, "\n## {name}\n\n{HEAD}").expect("a text");
        } else if let Some((name, value)) = line.split_once(" = ") {
            let value = if value == "\"\"" { String::new() } else { format!("`{value}`") };
            let comment = cell(&std::mem::take(&mut comment).join(" "));
            writeln!(tables, "| `{section}{name}` | {value} | {comment} |").expect("a text");
        } else {
            // The comment belongs to no setting.
            comment.clear();
        }
    }
    tables
}

#[test]
fn settings_match_the_defaults() {
    TABLE.check(&tables());
}

#[test]
fn tables_have_every_setting() {
    let directory = std::env::temp_dir();
    let config = Config::defaults_in(&directory).expect("the defaults");
    let tables = tables();
    for setting in config.settings() {
        assert!(tables.contains(&format!("| `{}` |", setting.key)), "{}", setting.key);
    }
}

/// A secret that anyone can read must not become that of a platform with real accounts.
#[test]
fn secrets_in_the_repository_are_refused() {
    /// What precedes a secret, and what follows it.
    const PLACES: [(&str, &[char]); 3] = [
        ("MINIAPP__AUTH__SECRET=", &[' ', '\n']),
        ("literals: [secret=", &[']', '\n']),
        ("writeText \"secret\" \"", &['"']),
    ];
    let others = ["kustomize/overlays/dev/kustomization.yaml", "nix/vm-test.nix"];
    let mut found = 0;
    for page in pages().into_iter().chain(others.map(str::to_owned)) {
        let text = read(&page);
        for (before, after) in PLACES {
            for rest in text.split(before).skip(1) {
                let secret = rest.split(after).next().unwrap_or_default();
                let config = Config::defaults_in(&std::env::temp_dir()).expect("the defaults");
                let read = config.with("auth.secret", secret).section::<TokenConfig>();
                let error = read.expect_err(&page).to_string();
                assert!(error.contains("is published"), "{page}: {error}");
                found += 1;
            }
        }
    }
    assert!(found >= 2, "{found} secrets were found");
}
