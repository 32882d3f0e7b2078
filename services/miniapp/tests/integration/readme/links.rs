//! Links between pages exist, and no page is missing from the summary.

use std::fmt::Write as _;
use std::path::{Component, Path, PathBuf};

use crate::readme::pages::{Generated, pages, prose, read, root};

/// Targets of the inline links and images of a page, except those on other hosts.
fn targets(page: &str) -> Vec<String> {
    let text = prose(page);
    // Code may contain what looks like a link.
    let text: Vec<&str> = text.split('`').step_by(2).collect();
    let text = text.join(" ");
    let links = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    let targets = links.map(|(target, _)| target.to_owned());
    targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:")).collect()
}

/// Anchors that GitHub and mdBook make of the headings of a page.
fn anchors(page: &str) -> Vec<String> {
    let text = prose(page);
    let headings = text.lines().filter_map(|line| line.trim_start_matches('#').strip_prefix(' '));
    headings.map(anchor).collect()
}

fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase().replace(' ', "-");
    kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
}

/// `a/b/../c` as `a/c`, without reading the file system.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                normal.pop();
            }
            Component::CurDir => {}
            component => normal.push(component),
        }
    }
    normal
}

#[test]
fn relative_links_exist() {
    for page in pages() {
        for target in targets(&read(&page)) {
            let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let folder = Path::new(&page).parent().expect("a folder");
            let path =
                if file.is_empty() { page.clone().into() } else { normal(&folder.join(file)) };
            assert!(root().join(&path).exists(), "{page} links to {target}");
            if !anchor.is_empty() && path.extension().is_some_and(|extension| extension == "md") {
                let linked = read(path.to_str().expect("UTF-8"));
                assert!(anchors(&linked).iter().any(|it| it == anchor), "{page} links to {target}");
            }
        }
    }
}

#[test]
fn summary_has_every_page() {
    let listed = targets(&read("docs/SUMMARY.md"));
    for page in pages() {
        let Some(page) = page.strip_prefix("docs/") else { continue };
        let is_hidden = page == "SUMMARY.md" || page == "adr/0000-template.md";
        assert!(is_hidden || listed.iter().any(|it| it == page), "{page} isn't in the summary");
    }
}

const INDEX: Generated = Generated { page: "docs/adr/README.md", name: "index" };
const DECISIONS: Generated = Generated { page: "docs/SUMMARY.md", name: "decisions" };

#[test]
fn index_and_summary_have_every_decision() {
    let mut index = "| decision | status |\n|---|---|\n".to_owned();
    let mut summary = String::new();
    for page in decisions() {
        let text = read(&page);
        let (_, file) = page.rsplit_once('/').expect("a file");
        let heading = text.lines().next().and_then(|line| line.strip_prefix("# "));
        let (_, title) = heading.and_then(|it| it.split_once(". ")).expect("a numbered title");
        let title = format!("{} {title}", &file[..4]);
        let (_, status) = text.split_once("\n## Status\n\n").expect("a status");
        let status = status.split(['.', ',', '\n']).next().expect("a word").to_lowercase();
        writeln!(index, "| [{title}]({file}) | {status} |").expect("a text");
        writeln!(summary, "  - [{title}](adr/{file})").expect("a text");
    }
    INDEX.check(&index);
    DECISIONS.check(&summary);
}

fn decisions() -> Vec<String> {
    let decisions = pages()
        .into_iter()
        .filter(|page| page.starts_with("docs/adr/0") && page != "docs/adr/0000-template.md");
    decisions.collect()
}

#[test]
fn decisions_have_all_sections() {
    for page in decisions() {
        let text = read(&page);
        for section in ["Status", "Context", "Decision", "Consequences"] {
            assert!(text.contains(&format!("\n## {section}\n")), "{page} lacks {section}");
        }
    }
}
