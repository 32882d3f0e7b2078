//! Files, folders and names in the code that the pages speak of.

use std::fs;
use std::path::Path;

use crate::{blocks, read, root};

const PAGES: [&str; 2] = ["README.md", "docs/architecture.md"];

/// What stands between backticks in the text of a page, outside of its blocks.
fn spans(page: &str) -> Vec<String> {
    let text: Vec<&str> = page.split("\n```").step_by(2).collect();
    let text = text.join("\n");
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn folders(path: &str) -> Vec<String> {
    let entries = fs::read_dir(root().join(path)).expect("a folder");
    let folders =
        entries.map(|entry| entry.expect("an entry")).filter(|entry| entry.path().is_dir());
    folders.map(|entry| entry.file_name().into_string().expect("UTF-8")).collect()
}

#[test]
fn every_service_and_crate_is_on_the_map() {
    let maps = blocks(&read("README.md"), "text");
    let map = maps.last().expect("a map");
    for name in folders("services").into_iter().chain(folders("crates")) {
        let is_named = map.lines().any(|line| line.trim_start().starts_with(&format!("{name}/")));
        assert!(is_named, "{name} isn't on the map");
    }
}

#[test]
fn files_that_are_named_are_there() {
    for page in PAGES {
        for span in spans(&read(page)) {
            let is_path = (span.contains('/') && span.split('.').next_back() == Some("rs"))
                || span.starts_with("services/")
                || span.starts_with("docs/");
            assert!(!is_path || exists(&span), "{page} names {span}");
        }
    }
}

/// Whether it is there, in the repository or among the services.
fn exists(path: &str) -> bool {
    let root = root();
    ["", "services", "crates"].iter().any(|folder| root.join(folder).join(path).exists())
}

#[test]
fn names_of_the_code_are_in_the_code() {
    let mut code = String::new();
    collect(&root().join("services"), &mut code);
    for page in PAGES {
        for span in spans(&read(page)) {
            let parts: Vec<&str> = span.split("::").collect();
            let is_word = |part: &&str| part.chars().all(|c| c.is_alphanumeric() || c == '_');
            if parts.len() < 2 || !parts.iter().all(is_word) {
                continue;
            }
            for part in parts {
                assert!(code.contains(part), "{page} names {span}");
            }
        }
    }
}

fn collect(folder: &Path, code: &mut String) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, code);
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "sql")
        {
            code.push_str(&fs::read_to_string(&path).expect("text"));
        }
    }
}
