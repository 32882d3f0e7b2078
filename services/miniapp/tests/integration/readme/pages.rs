//! The pages of the repository, and the parts of them that are generated.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

pub fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().expect("the repository")
}

pub fn read(path: &str) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Paths of all Markdown files, relative to the root and sorted.
pub fn pages() -> Vec<String> {
    let mut pages = Vec::new();
    for folder in ["docs", "observability", "crates", "services", "dev", ".github"] {
        collect(folder, &mut pages);
    }
    let files = fs::read_dir(root()).expect("a folder").map(|entry| entry.expect("an entry"));
    pages.extend(files.filter_map(|file| file.file_name().into_string().ok()).filter(is_page));
    pages.sort();
    pages
}

fn is_page(name: &String) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "md")
}

fn collect(folder: &str, pages: &mut Vec<String>) {
    for entry in fs::read_dir(root().join(folder)).expect("a folder") {
        let entry = entry.expect("an entry");
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            collect(&path, pages);
        } else if is_page(&path) {
            pages.push(path);
        }
    }
}

/// The fenced blocks of a page in this language.
pub fn blocks(page: &str, language: &str) -> Vec<String> {
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

/// A page without its fenced blocks.
pub fn prose(page: &str) -> String {
    let mut is_code = false;
    let lines = page.lines().filter(|line| {
        let is_fence = line.starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Text between backticks.
pub fn code_spans(page: &str) -> Vec<String> {
    prose(page).split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Whether generated files and parts of pages are written instead of compared.
pub fn is_update() -> bool {
    std::env::var_os("UPDATE_DOCS").is_some()
}

pub const HINT: &str = "is stale; UPDATE_DOCS=1 ./test readme regenerates it";

/// A part of a page that is generated. It stands between `<!-- generated: NAME -->` and
/// `<!-- end of NAME -->`.
pub struct Generated {
    pub page: &'static str,
    pub name: &'static str,
}

impl Generated {
    /// Compares the part with `text`, or replaces it during an update.
    pub fn check(&self, text: &str) {
        static UPDATE: Mutex<()> = Mutex::new(());
        let _guard = UPDATE.lock().unwrap_or_else(PoisonError::into_inner);
        let Self { page, name } = self;
        let content = read(page);
        let (begin, end) =
            (format!("<!-- generated: {name} -->\n"), format!("<!-- end of {name} -->"));
        let (before, rest) = content.split_once(&begin).expect("the begin of a generated part");
        let (current, after) = rest.split_once(&end).expect("the end of a generated part");
        if is_update() {
            let updated = format!("{before}{begin}{text}{end}{after}");
            fs::write(root().join(page), updated).expect("written");
        } else {
            assert!(current == text, "{name} of {page} {HINT}");
        }
    }
}

/// Text that Markdown shows as it is in a cell of a table.
pub fn cell(text: &str) -> String {
    // Underscores in pairs would make the text bold.
    text.replace("__", r"\_\_").replace('|', r"\|").replace('\n', " ")
}
