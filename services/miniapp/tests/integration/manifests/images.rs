//! Container images.

use crate::manifests::object::text;
use crate::manifests::rendered::{Rendered, all, overlays, production};

/// The images of pods, and of objects from which operators create pods.
fn images(it: &Rendered) -> Vec<&str> {
    let of_pods = it.pods().flat_map(|pod| pod.containers().collect::<Vec<_>>());
    let of_pods = of_pods.map(|container| text(container, "/image"));
    let of_operators = [("Cluster", "/spec/imageName"), ("RabbitmqCluster", "/spec/image")];
    let of_operators = of_operators
        .iter()
        .flat_map(|(kind, image)| it.of_kind(kind).map(move |object| text(object.value(), image)));
    of_pods.chain(of_operators).collect()
}

#[test]
#[ignore = "needs kubectl or kustomize"]
fn images_have_versions() {
    for it in all() {
        let is_overlay = it.name.starts_with("overlays/");
        for image in images(it) {
            // Overlays set the versions of our own images.
            if image.starts_with("miniapp/") && !is_overlay {
                continue;
            }
            let name = image.rsplit('/').next().unwrap_or_default();
            let version = name.split_once('@').or_else(|| name.split_once(':'));
            let version = version.map(|(_, version)| version);
            assert!(version.is_some_and(|version| version != "latest"), "{}: {image}", it.name);
        }
    }
}

#[test]
#[ignore = "needs kubectl or kustomize"]
fn production_pins_images_by_digest() {
    let production = production();
    let images = images(production);
    assert!(images.len() > 7, "{images:?}");
    for image in images {
        let digest = image.split_once("@sha256:").map(|(_, digest)| digest);
        let is_digest = |digest: &str| {
            digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        assert!(digest.is_some_and(is_digest), "{image}");
        assert!(!image.starts_with("miniapp/"), "{image} has no registry");
    }
}

/// Before a release there are no images. An invalid label on each object makes the cluster reject
/// the manifests at once, instead of leaving pods in `ImagePullBackOff`.
#[test]
#[ignore = "needs kubectl or kustomize"]
fn production_without_release_images_is_rejected() {
    let production = production();
    let is_missing = images(production).iter().any(|image| image.ends_with(&"0".repeat(64)));
    for object in &production.objects {
        let label = text(object.labels(), "/miniapp~1release");
        assert_eq!(label.contains(' '), is_missing, "{} {}", object.kind(), object.name());
    }
}

/// Development images expose the ports of the pods, and production images have to as well.
#[test]
#[ignore = "needs kubectl or kustomize"]
fn images_expose_ports_of_pods() {
    let dockerfile = crate::manifests::read("Dockerfile");
    for it in overlays() {
        for pod in it.pods().filter(|pod| pod.is_ours() && pod.is_lasting()) {
            let name = pod.owner.name();
            let (_, stage) =
                dockerfile.split_once(&format!("FROM base AS {name}\n")).expect("a stage");
            let stage = stage.split("\nFROM ").next().unwrap_or_default();
            let exposed = stage.lines().find_map(|line| line.strip_prefix("EXPOSE "));
            let ports: Vec<String> = ["http", "admin"]
                .iter()
                .filter_map(|port| pod.port(port).map(|number| number.to_string()))
                .collect();
            assert_eq!(exposed, Some(ports.join(" ").as_str()), "{name}");
            let entrypoint = format!("ENTRYPOINT [\"/bin/{name}\"]");
            assert!(stage.lines().any(|line| line == entrypoint), "{name}");
        }
    }
}
