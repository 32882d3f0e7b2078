//! Rendering with kustomize.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::manifests::object::{Object, Pod, selects};
use crate::manifests::root;

const RENDERERS: [&[&str]; 2] = [&["kustomize", "build"], &["kubectl", "kustomize"]];

/// A rendered overlay or component.
#[derive(Debug)]
pub struct Rendered {
    /// The folder below `kustomize/`.
    pub name: String,
    pub text: String,
    pub objects: Vec<Object>,
}

static ALL: LazyLock<Vec<Rendered>> = LazyLock::new(render_all);

/// Every overlay, and every component on the base.
pub fn all() -> &'static [Rendered] {
    &ALL
}

pub fn overlays() -> impl Iterator<Item = &'static Rendered> {
    all().iter().filter(|it| it.name.starts_with("overlays/"))
}

pub fn production() -> &'static Rendered {
    all().iter().find(|it| it.name == "overlays/prod").expect("overlays/prod")
}

impl Rendered {
    pub fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Object> {
        self.objects.iter().filter(move |object| object.kind() == kind)
    }

    pub fn named(&self, kind: &str, name: &str) -> Option<&Object> {
        self.of_kind(kind).find(|object| object.name() == name)
    }

    pub fn pods(&self) -> impl Iterator<Item = Pod<'_>> {
        self.objects.iter().filter_map(Object::pod)
    }

    /// The pods that a label selector matches.
    pub fn selected<'s>(&'s self, selector: &'s Value) -> Vec<Pod<'s>> {
        self.pods().filter(|pod| selects(selector, pod.labels())).collect()
    }
}

fn render_all() -> Vec<Rendered> {
    let renderer = RENDERERS.into_iter().find(|renderer| is_installed(renderer[0]));
    let renderer = renderer.expect("neither kustomize nor kubectl is installed");
    let folders = |parent: &str| {
        let entries = fs::read_dir(root().join("kustomize").join(parent)).expect("a folder");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<String> =
            names.map(|name| format!("{parent}/{}", name.to_str().expect("UTF-8"))).collect();
        names.sort();
        names
    };
    let scratch = tempfile::tempdir().expect("a directory");
    let overlays = folders("overlays").into_iter().map(|name| {
        let text = render(renderer, &root().join("kustomize").join(&name));
        (name, text)
    });
    let components = folders("components").into_iter().map(|name| {
        let text = render(renderer, &alone(scratch.path(), &name));
        (name, text)
    });
    let texts = overlays.chain(components);
    texts.map(|(name, text)| Rendered { name, objects: Object::read_all(&text), text }).collect()
}

fn is_installed(program: &str) -> bool {
    let version = if program == "kubectl" { &["version", "--client"][..] } else { &["version"] };
    let mut command = Command::new(program);
    command.args(version).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn render(renderer: &[&str], folder: &Path) -> String {
    let output = Command::new(renderer[0]).args(&renderer[1..]).arg(folder).output();
    let output = output.expect("it ran a moment ago");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", folder.display());
    assert!(stderr.is_empty(), "{} warns: {stderr}", folder.display());
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Creates a kustomization of the base and one component.
fn alone(scratch: &Path, component: &str) -> PathBuf {
    let folder = scratch.join(component);
    fs::create_dir_all(&folder).expect("a folder");
    let folder = folder.canonicalize().expect("a folder");
    // Kustomize rejects absolute paths.
    let up = "../".repeat(folder.components().count() - 1);
    let kustomize =
        format!("{up}{}/kustomize", root().strip_prefix("/").expect("absolute").display());
    let kustomization = json!({
        "resources": [format!("{kustomize}/base")],
        "components": [format!("{kustomize}/{component}")],
    });
    fs::write(folder.join("kustomization.yaml"), kustomization.to_string()).expect("written");
    folder
}

#[test]
#[ignore = "needs kubectl or kustomize"]
fn overlays_and_components_render() {
    let names: Vec<&str> = all().iter().map(|it| it.name.as_str()).collect();
    assert!(names.starts_with(&["overlays/dev", "overlays/prod"]), "{names:?}");
    assert!(names.contains(&"components/gateway") && names.len() > 10, "{names:?}");
    for it in all() {
        assert!(it.named("Deployment", "worker").is_some(), "{} lacks the base", it.name);
    }
}
