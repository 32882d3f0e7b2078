//! Checks the README, the book in `docs` and the other pages of the repository: commands are
//! run, generated tables and the picture are compared with the code, and links and names are
//! resolved.

mod api;
mod backup;
mod cli;
mod commands;
mod links;
mod metrics;
mod names;
mod pages;
mod rotation;
mod settings;
mod trace;

use self::pages::{Generated, blocks, read};

const EXAMPLE: Generated = Generated { page: "docs/guides/new-kind.md", name: "example" };

const KIND: Generated = Generated { page: "README.md", name: "kind" };

/// The template is compiled by `./test examples`.
#[test]
fn kind_of_the_readme_is_that_of_the_template() {
    let code = read("templates/kind/src/greet.rs");
    let (code, _) = code.split_once("#[cfg(test)]").expect("tests");
    let (_, code) = code.split_once("\n\n").expect("a comment of the file");
    KIND.check(&format!("```rust\n{}\n```\n", code.trim_end()));
}

/// The example is compiled as a documentation test.
#[test]
fn example_of_a_kind_is_the_compiled_one() {
    let code = read("crates/kind/src/lib.rs");
    let docs: Vec<&str> = code
        .lines()
        .filter_map(|line| line.strip_prefix("//!"))
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect();
    // In documentation comments a block without a language is Rust.
    let compiled = blocks(&docs.join("\n"), "");
    let [example] = compiled.as_slice() else { panic!("one example: {compiled:?}") };
    EXAMPLE.check(&format!("```rust\n{example}```\n"));
}
