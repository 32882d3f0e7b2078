//! Libraries are below programs.

use std::fs;

use crate::packages;

fn dependencies(manifest: &str) -> impl Iterator<Item = &str> {
    let sections = manifest.split("\n[").filter(|section| {
        section.starts_with("dependencies]") || section.starts_with("build-dependencies]")
    });
    let lines = sections.flat_map(|section| section.lines().skip(1));
    lines.filter_map(|line| line.split(['.', ' ', '=']).next()).filter(|name| !name.is_empty())
}

#[test]
fn libraries_do_not_depend_on_programs() {
    let name_of = |manifest: &str| {
        let line = manifest.lines().find_map(|line| line.strip_prefix("name = "));
        line.expect("a name").trim_matches('"').to_owned()
    };
    let manifests = |folder| {
        let packages = packages(folder).into_iter();
        packages.map(|package| fs::read_to_string(package.join("Cargo.toml")).expect("a manifest"))
    };
    let programs: Vec<String> = manifests("services").map(|manifest| name_of(&manifest)).collect();
    assert!(programs.len() >= 4, "{programs:?}");
    for manifest in manifests("crates") {
        let library = name_of(&manifest);
        for dependency in dependencies(&manifest) {
            assert!(!programs.iter().any(|name| name == dependency), "{library}: {dependency}");
        }
    }
}

/// A program describes itself; libraries take it as a value.
#[test]
fn libraries_do_not_describe_programs() {
    for package in packages("crates") {
        for (path, code) in sources(&package.join("src")) {
            let code = code.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            assert!(
                !code.contains(": Program = Program {"),
                "{} describes a program",
                path.display()
            );
        }
    }
}

fn sources(folder: &std::path::Path) -> Vec<(std::path::PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != "tests") {
                found.extend(sources(&path));
            }
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && path.file_stem().is_none_or(|name| name != "tests")
        {
            let code = fs::read_to_string(&path).expect("text");
            found.push((path, code));
        }
    }
    found
}
