//! Manifests against Kubernetes' own schemas.

use std::fs;
use std::process::{Command, Stdio};

use crate::manifests::rendered::{Rendered, all};

/// Supported versions.
const VERSIONS: [&str; 4] = ["1.31", "1.32", "1.33", "1.34"];

/// kubernetes-validate contains the schemas (pip install kubernetes-validate), kubeconform
/// downloads them.
#[test]
#[ignore = "needs kubectl or kustomize, and kubernetes-validate or kubeconform"]
fn objects_match_kubernetes_schemas() {
    let mut validators = ["kubernetes-validate", "kubeconform"].into_iter();
    let validator = validators.find(|name| is_installed(name));
    let validator = validator.expect("neither kubernetes-validate nor kubeconform is installed");
    let scratch = tempfile::tempdir().expect("a directory");
    let mut files = Vec::new();
    for (number, it) in all().iter().enumerate() {
        let file = scratch.path().join(format!("{number}.yaml"));
        fs::write(&file, built_in(it)).expect("written");
        files.push(file);
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
        let printed =
            [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned());
        let printed = printed.join("\n");
        assert!(output.status.success(), "{version}: {printed}");
    }
}

fn is_installed(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("-h").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// The documents of built-in objects: the schemas do not contain those of operators.
fn built_in(it: &Rendered) -> String {
    let documents = it.text.split("\n---\n").zip(&it.objects);
    let documents = documents.filter(|(_, object)| object.is_built_in());
    documents.map(|(document, _)| document).collect::<Vec<_>>().join("\n---\n")
}
