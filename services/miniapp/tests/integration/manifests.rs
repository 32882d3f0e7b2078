//! The rendered manifests, without a cluster: both overlays, and each component alone on the base.
//! They are checked against our own rules, Kubernetes' schemas, the settings of the programs, and
//! the last reviewed production overlay.

mod access;
mod admin;
mod archive;
mod availability;
mod images;
mod kubernetes;
mod names;
mod object;
mod overrides;
mod privileges;
mod references;
mod rendered;
mod settings;
mod sources;
mod tilt;

use std::path::{Path, PathBuf};

/// The root of the repository.
fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().expect("the repository")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Whether generated files are to be updated.
fn is_update() -> bool {
    std::env::var_os("UPDATE_MANIFESTS").is_some()
}
