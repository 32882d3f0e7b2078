//! What the README and the pages in `docs` say is so: commands are run, tables and
//! examples compared with the code, and names looked up.

mod commands;
mod names;
mod settings;
mod trace;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The folder of the repository.
fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().expect("the repository")
}

fn read(path: &str) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A part of the README that is made from something else.
struct Made {
    begin: &'static str,
    end: &'static str,
}

impl Made {
    /// What stands there.
    fn stands(&self) -> String {
        let readme = read("README.md");
        let (_, rest) = readme.split_once(self.begin).expect("a beginning");
        let (stands, _) = rest.split_once(self.end).expect("an end");
        stands.to_owned()
    }

    /// Puts `text` there, if that is what `UPDATE_README` asks for.
    fn updated(&self, text: &str) -> bool {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        if std::env::var_os("UPDATE_README").is_none() {
            return false;
        }
        let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let Self { begin, end } = self;
        let readme = read("README.md");
        let (before, rest) = readme.split_once(begin).expect("a beginning");
        let (_, after) = rest.split_once(end).expect("an end");
        let updated = format!("{before}{begin}{text}{end}{after}");
        std::fs::write(root().join("README.md"), updated).expect("written");
        true
    }
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
