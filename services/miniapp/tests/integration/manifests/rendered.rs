//! Rendering with kustomize.

use std::fs;
use std::path::Path;
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
    let folders = |parent: &str| {
        let entries = fs::read_dir(root().join("kustomize").join(parent)).expect("a folder");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<String> =
            names.map(|name| format!("{parent}/{}", name.to_str().expect("UTF-8"))).collect();
        names.sort();
        names
    };
    let overlays = folders("overlays").into_iter().map(|name| {
        let text = render(&root().join("kustomize").join(&name));
        Rendered { name, objects: Object::read_all(&text), text }
    });
    let components = folders("components").into_iter().map(|name| {
        let parts = json!({"resources": ["base"], "components": [&name]});
        Rendered { name, ..rendered(parts) }
    });
    overlays.chain(components).collect()
}

/// Renders a kustomization outside of the repository. Its resources and components are folders
/// below `kustomize/`.
pub fn rendered(mut kustomization: Value) -> Rendered {
    let scratch = tempfile::tempdir().expect("a directory");
    let folder = scratch.path().canonicalize().expect("a folder");
    // Kustomize rejects absolute paths.
    let up = "../".repeat(folder.components().count() - 1);
    let kustomize =
        format!("{up}{}/kustomize", root().strip_prefix("/").expect("absolute").display());
    for part in ["resources", "components"] {
        for name in kustomization[part].as_array_mut().into_iter().flatten() {
            *name = format!("{kustomize}/{}", name.as_str().expect("a folder")).into();
        }
    }
    fs::write(folder.join("kustomization.yaml"), kustomization.to_string()).expect("written");
    let text = render(&folder);
    Rendered { name: kustomization.to_string(), objects: Object::read_all(&text), text }
}

fn is_installed(program: &str) -> bool {
    let version = if program == "kubectl" { &["version", "--client"][..] } else { &["version"] };
    let mut command = Command::new(program);
    command.args(version).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

pub fn render(folder: &Path) -> String {
    static RENDERER: LazyLock<&[&str]> = LazyLock::new(|| {
        let renderer = RENDERERS.into_iter().find(|renderer| is_installed(renderer[0]));
        renderer.expect("neither kustomize nor kubectl is installed")
    });
    let renderer = *RENDERER;
    let output = Command::new(renderer[0]).args(&renderer[1..]).arg(folder).output();
    let output = output.expect("it ran a moment ago");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", folder.display());
    assert!(stderr.is_empty(), "{} warns: {stderr}", folder.display());
    String::from_utf8(output.stdout).expect("UTF-8")
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
