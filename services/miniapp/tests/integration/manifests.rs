//! What `kustomize/` describes, rendered and looked at without a cluster: both overlays, and
//! each component by itself on the base. Rules of our own, Kubernetes' schemas, settings that
//! the program knows, and production as it was the last time somebody looked.

mod access;
mod availability;
mod images;
mod kubernetes;
mod object;
mod references;
mod rendered;
mod settings;
mod sources;

use std::path::{Path, PathBuf};

/// The folder of the repository.
fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().expect("the repository")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Whether files that are made from others are to be made anew.
fn is_update() -> bool {
    std::env::var_os("UPDATE_MANIFESTS").is_some()
}
