//! The structure of the workspace: which module uses which, and which crate depends on which.

mod cycles;
mod dependencies;
mod modules;
mod resolve;

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().expect("the repository")
}

/// The folders of the packages in `folder`.
fn packages(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(folder)).expect("a folder");
    let folders = entries.map(|entry| entry.expect("an entry").path());
    let mut packages: Vec<PathBuf> =
        folders.filter(|folder| folder.join("Cargo.toml").exists()).collect();
    packages.sort();
    packages
}
