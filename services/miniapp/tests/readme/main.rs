//! What the README and the pages in `docs` say is so: commands are run, tables and
//! examples compared with the code, and names looked up.

mod commands;
mod names;
mod settings;

use std::path::{Path, PathBuf};

/// The folder of the repository.
fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().expect("the repository")
}

fn read(path: &str) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The fenced blocks of a page in this language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        if info == language {
            blocks.push(block.join("\n") + "\n");
        }
    }
    blocks
}

#[test]
fn the_new_kind_is_the_example_that_is_compiled() {
    let code = read("services/worker/src/kinds/mod.rs");
    let docs: Vec<&str> = code
        .lines()
        .filter_map(|line| line.strip_prefix("//!"))
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect();
    // Rust's documentation needs no name of the language.
    let compiled = blocks(&docs.join("\n"), "");
    assert_eq!(blocks(&read("README.md"), "rust"), compiled);
}
