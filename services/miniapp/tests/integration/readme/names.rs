//! Files, folders and items of the code that pages name.

use std::fs;
use std::path::Path;

use crate::readme::pages::{blocks, code_spans, pages, read, root};

/// Whether a page describes the code as it is. A changelog and decisions describe it as it was.
fn is_current(page: &str) -> bool {
    page != "CHANGELOG.md" && !page.starts_with("docs/adr/")
}

fn folders(path: &str) -> Vec<String> {
    let entries = fs::read_dir(root().join(path)).expect("a folder");
    let folders =
        entries.map(|entry| entry.expect("an entry")).filter(|entry| entry.path().is_dir());
    folders.map(|entry| entry.file_name().into_string().expect("UTF-8")).collect()
}

#[test]
fn map_has_every_service_and_crate() {
    let maps = blocks(&read("docs/architecture.md"), "text");
    let map = maps.iter().find(|map| map.starts_with("services/\n")).expect("a map");
    for name in folders("services").into_iter().chain(folders("crates")) {
        let is_named = map.lines().any(|line| line.trim_start().starts_with(&format!("{name}/")));
        assert!(is_named, "{name} isn't on the map");
    }
}

#[test]
fn named_files_exist() {
    const FOLDERS: [&str; 6] =
        ["services/", "crates/", "docs/", "kustomize/", "observability/", "dev/"];
    let mut missing = Vec::new();
    for page in pages().iter().filter(|page| is_current(page)) {
        for span in code_spans(&read(page)) {
            let is_code = span.contains('/') && span.split('.').next_back() == Some("rs");
            let is_path = !span.contains(['*', '{', ' ', '<'])
                && (is_code || FOLDERS.iter().any(|folder| span.starts_with(folder)));
            if is_path && !exists(page, &span) {
                missing.push(format!("{page} names {span}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

/// Whether a path exists in the repository, below `services` or `crates`, or beside the page.
fn exists(page: &str, path: &str) -> bool {
    let root = root();
    let beside = Path::new(page).parent().expect("a folder");
    let folders = [Path::new(""), Path::new("services"), Path::new("crates"), beside];
    folders.iter().any(|folder| root.join(folder).join(path).exists())
}

/// `Type::item` has to be defined in one crate, `crate::Item` in the crate of that name.
#[test]
fn named_items_are_defined() {
    let crates = crates();
    for page in pages().iter().filter(|page| is_current(page)) {
        for span in code_spans(&read(page)) {
            // The folder of a crate lacks the prefix of its package.
            let path = span.trim_end_matches("()").trim_start_matches("miniapp_");
            let parts: Vec<&str> = path.split("::").collect();
            let is_word = |part: &&str| {
                !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_')
            };
            if parts.len() < 2 || !parts.iter().all(is_word) || parts[0] == "std" {
                continue;
            }
            let is_defined = crates
                .iter()
                .any(|(name, code)| parts.iter().all(|part| *part == name || defines(code, part)));
            assert!(is_defined, "{page} names {span}");
        }
    }
}

/// The name and the code of each crate.
fn crates() -> Vec<(String, String)> {
    let mut crates = Vec::new();
    for parent in ["services", "crates"] {
        for name in folders(parent) {
            let mut code = String::new();
            collect(&root().join(parent).join(&name).join("src"), &mut code);
            crates.push((name.replace('-', "_"), code));
        }
    }
    crates
}

fn collect(folder: &Path, code: &mut String) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, code);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            code.push_str(&fs::read_to_string(&path).expect("text"));
        }
    }
}

/// Whether the code defines a module, type, function or constant of this name.
fn defines(code: &str, name: &str) -> bool {
    const KEYWORDS: [&str; 8] = ["mod", "struct", "enum", "trait", "type", "fn", "const", "static"];
    KEYWORDS.iter().any(|keyword| {
        let definition = format!("{keyword} {name}");
        code.match_indices(&definition).any(|(at, _)| {
            let next = code[at + definition.len()..].chars().next();
            next.is_none_or(|c| !c.is_alphanumeric() && c != '_')
        })
    })
}
