//! Generated files, and the reviewed production overlay.

use std::fs;

use crate::manifests::object::Object;
use crate::manifests::rendered::production;
use crate::manifests::{is_update, read, root};

const RULES: &str = "kustomize/components/prometheus/rules.yaml";
const PRODUCTION: &str = "services/miniapp/tests/integration/manifests/prod.yaml";
const STALE: &str = "UPDATE_MANIFESTS=1 ./test manifests makes it anew; then look at what changed";

/// Kustomize can't include a file in an object of an operator, so the rules are copied.
#[test]
fn prometheus_rules_match_observability() {
    let is = read(RULES);
    let (head, _) = is.split_once("  groups:\n").expect("groups");
    let mut made = format!("{head}  groups:\n");
    for source in ["rules.yml", "alerts.yml"] {
        let source = read(format!("observability/prometheus/{source}"));
        let (_, groups) = source.split_once("\ngroups:\n").expect("groups");
        let indented = |line: &str| {
            if line.is_empty() { "\n".to_owned() } else { format!("  {line}\n") }
        };
        made.extend(groups.trim_end().lines().map(indented));
    }
    if is_update() {
        fs::write(root().join(RULES), made).expect("written");
    } else {
        assert!(is == made, "{RULES} is stale: {STALE}");
    }
}

/// A change of the sources shows its effect on production as a diff of one file.
#[test]
#[ignore = "needs kubectl or kustomize"]
fn production_matches_reviewed_file() {
    let production = production();
    let now = without_files(&production.text);
    if is_update() {
        return fs::write(root().join(PRODUCTION), now).expect("written");
    }
    let (before, now) = (Object::read_all(&read(PRODUCTION)), Object::read_all(&now));
    let name = |object: &Object| format!("{} {}", object.kind(), object.name());
    let names = |objects: &[Object]| objects.iter().map(name).collect::<Vec<_>>();
    assert_eq!(names(&before), names(&now), "{STALE}");
    for (before, now) in before.iter().zip(&now) {
        assert_eq!(before.value(), now.value(), "{}: {STALE}", name(now));
    }
}

/// Removes the contents of files in a `ConfigMap`: the hash in its name changes with them, and they
/// are reviewed as files.
fn without_files(text: &str) -> String {
    let mut documents: Vec<String> = text.split("\n---\n").map(str::to_owned).collect();
    for document in &mut documents {
        let is_settings = document.contains("MINIAPP__");
        if !document.contains("\nkind: ConfigMap\n") || is_settings {
            continue;
        }
        let mut is_data = false;
        let kept = document.lines().filter(|line| {
            // Block scalars contain empty lines.
            if !line.starts_with(' ') && !line.is_empty() {
                is_data = *line == "data:";
            }
            !is_data
        });
        let kept: Vec<&str> = kept.collect();
        let kept = kept.join("\n");
        *document = kept;
    }
    documents.join("\n---\n")
}
