//! The Tiltfile.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::manifests::object::Object;
use crate::manifests::{read, root};

/// Tilt reloads if a file changes that it watches. By itself it watches resources and patches, but
/// neither `envs` nor `configurations`.
#[test]
fn tilt_watches_what_kustomize_reads() {
    let tiltfile = read("Tiltfile");
    let (folders, _) = tiltfile.split_once("]:\n    watch_file(folder)").expect("watched folders");
    let (_, folders) = folders.rsplit_once('[').expect("a list");
    let folders: Vec<PathBuf> =
        folders.split(", ").map(|folder| root().join(folder.trim_matches('\''))).collect();
    let mut files = Vec::new();
    for folder in &folders {
        assert!(folder.is_dir(), "{}", folder.display());
        kustomizations(folder, &mut files);
    }
    let read: Vec<PathBuf> = files.iter().flat_map(|file| references(file)).collect();
    assert!(read.iter().any(|path| path.ends_with("settings.env")), "{read:?}");
    assert!(read.iter().any(|path| path.ends_with("names.yaml")), "{read:?}");
    for path in read {
        let is_watched = folders.iter().any(|folder| path.starts_with(folder));
        assert!(is_watched, "{}", path.display());
    }
}

/// Finds the kustomizations below `folder`.
fn kustomizations(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            kustomizations(&path, found);
        } else if path.ends_with("kustomization.yaml") {
            found.push(path);
        }
    }
}

/// The files and folders that a kustomization names.
fn references(file: &Path) -> Vec<PathBuf> {
    let objects = Object::read_all(&fs::read_to_string(file).expect("a file"));
    let folder = file.parent().expect("a folder");
    let mut texts = Vec::new();
    for object in &objects {
        collect(object.value(), &mut texts);
    }
    // Files in a ConfigMap may have another name there: NAME=FILE.
    let paths = texts.iter().filter_map(|text| {
        folder.join(text.rsplit('=').next().unwrap_or_default()).canonicalize().ok()
    });
    paths.filter(|path| path != folder).collect()
}

fn collect<'v>(value: &'v Value, texts: &mut Vec<&'v str>) {
    match value {
        Value::String(text) => texts.push(text),
        Value::Array(items) => items.iter().for_each(|item| collect(item, texts)),
        Value::Object(fields) => fields.values().for_each(|field| collect(field, texts)),
        _ => {}
    }
}
