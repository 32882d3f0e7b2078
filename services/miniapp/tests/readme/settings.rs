//! The table of settings is made from the commented defaults.

use std::fmt::Write as _;

use miniapp_config::DEFAULTS;

use crate::Made;

const MADE: Made = Made {
    begin: "<!-- settings: made from crates/config/config.default.toml; UPDATE_README=1 makes it anew -->\n",
    end: "<!-- end of settings -->",
};

/// One row a setting: its name, its default, and its comment.
fn table() -> String {
    let mut table = "| setting | default | what it is |\n|---|---|---|\n".to_owned();
    let (mut section, mut comment) = (String::new(), Vec::new());
    for line in DEFAULTS.lines() {
        if let Some(text) = line.strip_prefix('#') {
            comment.push(text.trim());
        } else if let Some(name) = line.strip_prefix('[') {
            section = format!("{}.", name.trim_end_matches(']'));
        } else if let Some((name, value)) = line.split_once(" = ") {
            let value = if value == "\"\"" { String::new() } else { format!("`{value}`") };
            // Underscores in pairs would make text bold.
            let comment = std::mem::take(&mut comment).join(" ").replace("__", r"\_\_");
            writeln!(table, "| `{section}{name}` | {value} | {comment} |").expect("a text");
        } else {
            // What is about no setting in particular.
            comment.clear();
        }
    }
    table
}

#[test]
fn the_table_of_settings_is_what_the_defaults_say() {
    let table = table();
    if !MADE.updated(&table) {
        assert!(MADE.stands() == table, "stale: UPDATE_README=1 ./test readme makes it anew");
    }
}

#[test]
fn every_setting_is_in_the_table() {
    let directory = std::env::temp_dir();
    let config = miniapp_config::Config::defaults_in(&directory).expect("the defaults");
    let table = table();
    for setting in config.settings() {
        assert!(table.contains(&format!("| `{}` |", setting.key)), "{}", setting.key);
    }
}
