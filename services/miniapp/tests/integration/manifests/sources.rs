//! Files that are made from others, and production as it was when somebody looked at it last.

use std::fs;

use crate::manifests::object::Object;
use crate::manifests::rendered::production;
use crate::manifests::{is_update, read, root};

const RULES: &str = "kustomize/components/prometheus/rules.yaml";
const PRODUCTION: &str = "services/miniapp/tests/integration/manifests/prod.yaml";
const STALE: &str = "UPDATE_MANIFESTS=1 ./test manifests makes it anew; then look at what changed";

/// Kustomize puts no file into a resource of an operator.
#[test]
fn the_rules_for_prometheus_are_those_of_observability() {
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

/// Whoever changes production sees in one place what becomes of it.
#[test]
#[ignore = "needs kubectl or kustomize"]
fn production_is_as_it_was_looked_at() {
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

/// The hash in the name of a `ConfigMap` stands for what is in it, and the files that are in most
/// are looked at where they are.
fn without_files(text: &str) -> String {
    let mut documents: Vec<String> = text.split("\n---\n").map(str::to_owned).collect();
    for document in &mut documents {
        let is_settings = document.contains("MINIAPP__");
        if !document.contains("\nkind: ConfigMap\n") || is_settings {
            continue;
        }
        let mut is_data = false;
        let kept = document.lines().filter(|line| {
            // Texts have empty lines.
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
