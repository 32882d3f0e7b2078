//! Kubernetes' own schemas, by a program that has them.

use std::fs;
use std::process::{Command, Stdio};

use crate::rendered::{Rendered, all};

/// What people run.
const VERSIONS: [&str; 4] = ["1.31", "1.32", "1.33", "1.34"];

/// kubernetes-validate brings its schemas along (pip install kubernetes-validate), kubeconform
/// fetches them.
#[test]
fn every_object_fits_its_schema() {
    let validator = ["kubernetes-validate", "kubeconform"].into_iter().find(|name| is_here(name));
    let Some(validator) = validator else {
        return eprintln!("skipped: neither kubernetes-validate nor kubeconform is here");
    };
    let scratch = tempfile::tempdir().expect("a directory");
    let mut files = Vec::new();
    for (number, it) in all().iter().enumerate() {
        let file = scratch.path().join(format!("{number}.yaml"));
        fs::write(&file, built_in(it)).expect("written");
        files.push(file);
    }
    if files.is_empty() {
        return;
    }
    for version in VERSIONS {
        let mut command = Command::new(validator);
        match validator {
            "kubeconform" => {
                command.args(["-strict", "-kubernetes-version", &format!("{version}.0")])
            }
            _ => command.args(["--quiet", "--strict", "--kubernetes-version", version]),
        };
        let output = command.args(&files).output().expect("it ran a moment ago");
        let said =
            [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned());
        let said = said.join("\n");
        if said.contains("failed downloading schema") {
            return eprintln!("skipped: {validator} can't fetch the schemas of {version}");
        }
        assert!(output.status.success(), "{version}: {said}");
    }
}

fn is_here(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("-h").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// The documents of objects that are no operator's: those have schemas of their own.
fn built_in(it: &Rendered) -> String {
    let documents = it.text.split("\n---\n").zip(&it.objects);
    let documents = documents.filter(|(_, object)| object.is_built_in());
    documents.map(|(document, _)| document).collect::<Vec<_>>().join("\n---\n")
}
