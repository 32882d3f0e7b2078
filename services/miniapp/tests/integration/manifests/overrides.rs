//! The precedence of settings: an overlay overrides every component.

use serde_json::json;

use crate::manifests::object::{list, map, text};
use crate::manifests::rendered::{Rendered, all, rendered};
use crate::manifests::settings::environment;

/// Variables of pods that no overlay overrides: what differs between the programs, and files that
/// are mounted beside them.
const FIXED: [&str; 10] = [
    "MINIAPP__ADMIN__LISTEN",
    "MINIAPP__DATABASE__URL_FILE",
    "MINIAPP__BROKER__URL_FILE",
    "MINIAPP__BROKER__CA_FILE",
    "MINIAPP__MAIL__URL_FILE",
    "MINIAPP__AUTH__SECRET_FILE",
    "MINIAPP__AUTH__SECRET_PREVIOUS_FILE",
    "POD_NAME",
    "POD_NAMESPACE",
    "NODE_NAME",
];
/// Pods append to the overlay's value.
const APPENDED: &str = "OTEL_RESOURCE_ATTRIBUTES";

/// The settings that the base and the components make, of the services and the migration.
fn settings(it: &Rendered) -> Vec<&str> {
    let maps = it.of_kind("ConfigMap").filter(|map| map.name().starts_with("miniapp-"));
    let data = maps.filter_map(|object| map(object.value(), "/data")).flatten();
    let is_setting = |name: &&str| name.bytes().all(|it| it.is_ascii_uppercase() || it == b'_');
    data.map(|(name, _)| name.as_str()).filter(is_setting).collect()
}

#[test]
#[ignore = "needs kubectl or kustomize"]
fn overlays_override_components() {
    for it in all().iter().filter(|it| it.name.starts_with("components/")) {
        let settings = settings(it);
        assert!(settings.contains(&"MINIAPP__AUTH__URL"), "{}: {settings:?}", it.name);
        let literals: Vec<String> = settings.iter().map(|name| format!("{name}=mine")).collect();
        let overlay = rendered(json!({
            "resources": ["base"],
            "components": [it.name],
            "configMapGenerator": [{"name": "miniapp", "behavior": "merge", "literals": literals}],
        }));
        for pod in overlay.pods().filter(|pod| pod.is_ours()) {
            let variables = environment(&overlay, pod);
            for name in &settings {
                let value = variables[*name].as_str();
                let is_mine = value == "mine" || (*name == APPENDED && value.starts_with("mine,"));
                assert!(is_mine, "{}: {}: {name} is {value}", it.name, pod.owner.name());
            }
        }
    }
}

/// A variable in a pod's own list would silently override the overlay's.
#[test]
#[ignore = "needs kubectl or kustomize"]
fn pods_fix_only_what_no_overlay_sets() {
    for it in all() {
        for pod in it.pods().filter(|pod| pod.is_ours()) {
            for variable in list(pod.spec(), "/containers/0/env") {
                let name = text(variable, "/name");
                let refers = text(variable, "/value").starts_with("$(OTEL_RESOURCE_ATTRIBUTES),");
                let is_appended = name == APPENDED && refers;
                let place = format!("{}: {}", it.name, pod.owner.name());
                assert!(is_appended || FIXED.contains(&name), "{place} fixes {name}");
            }
        }
    }
}

/// Clients may choose any address in a header that every private network is trusted to set, if a
/// load balancer hides theirs.
#[test]
#[ignore = "needs kubectl or kustomize"]
fn client_addresses_are_counted_from_the_right() {
    for name in ["components/gateway", "components/ingress", "overlays/prod"] {
        let it = all().iter().find(|it| it.name == name).expect("the component");
        for pod in it.pods().filter(|pod| pod.is_ours()) {
            let variables = environment(it, pod);
            let get = |name: &str| variables.get(name).map(String::as_str);
            assert_eq!(get("MINIAPP__LIMITS__TRUSTED_HOPS"), Some("1"), "{name}");
            assert_eq!(get("MINIAPP__LIMITS__TRUSTED_PROXIES"), None, "{name}");
        }
    }
}
