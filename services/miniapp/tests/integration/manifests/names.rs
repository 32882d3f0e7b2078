//! Names that an overlay changes.

use std::fs;
use std::process::Command;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use miniapp_api::AuthServerConfig;
use serde_json::{Value, json};

use crate::manifests::object::{Object, list, text};
use crate::manifests::rendered::{Rendered, render, rendered};
use crate::manifests::root;
use crate::manifests::settings::{config_of, section};

const PREFIX: &str = "staging-";

/// The development overlay and all components that need no operator's names, with a prefix.
fn prefixed() -> Rendered {
    let components = [
        "collector",
        "gateway",
        "ingress",
        "autoscale-hpa",
        "autoscale-keda",
        "network-policies",
        "prometheus",
    ];
    rendered(json!({
        "namespace": "miniapp",
        "namePrefix": PREFIX,
        "resources": ["overlays/dev"],
        "components": components.map(|name| format!("components/{name}")),
    }))
}

#[test]
#[ignore = "needs kubectl or kustomize"]
fn addresses_follow_a_prefix() {
    let it = prefixed();
    let is_service = |host: &str| it.named("Service", host).is_some();
    for pod in it.pods().filter(|pod| pod.is_ours() && pod.is_lasting()) {
        let config = config_of(&it, pod);
        let auth: AuthServerConfig = section(&config);
        let settings = config.settings().iter();
        let traces = settings.clone().find(|it| it.key == "telemetry.otlp_endpoint");
        for url in [auth.url.as_str(), traces.expect("a setting").value.as_str()] {
            assert!(is_service(host(url)), "{}: {url}", pod.owner.name());
        }
    }
    for secret in it.of_kind("Secret") {
        for (key, value) in secret.at("/data").as_object().expect("data") {
            let value = decode(value);
            let Some((_, rest)) = value.split_once("://") else { continue };
            let address = rest.rsplit('@').next().unwrap_or_default();
            let variable = address.split_once(')').map_or("", |(name, _)| name);
            let variable =
                variable.strip_prefix("$(").unwrap_or_else(|| panic!("{key}: {address}"));
            let service = it.of_kind("ConfigMap").find_map(|map| map.at("/data").get(variable));
            assert!(service.and_then(Value::as_str).is_some_and(is_service), "{key}: {variable}");
        }
    }
    let collector = it.named("Deployment", "staging-collector").and_then(Object::pod);
    let env = list(collector.expect("the collector").spec(), "/containers/0/env");
    let jaeger = env.iter().find(|variable| variable["name"] == "JAEGER_SERVICE");
    assert!(jaeger.is_some_and(|variable| is_service(text(variable, "/value"))), "{env:?}");
}

#[test]
#[ignore = "needs kubectl or kustomize"]
fn references_follow_a_prefix() {
    let it = prefixed();
    let mut references = Vec::new();
    for route in it.of_kind("HTTPRoute") {
        let parents = list(route.value(), "/spec/parentRefs").iter();
        references.extend(parents.map(|parent| ("Gateway", &parent["name"])));
        let rules = list(route.value(), "/spec/rules").iter();
        let backends = rules.flat_map(|rule| list(rule, "/backendRefs"));
        references.extend(backends.map(|backend| ("Service", &backend["name"])));
    }
    for scaler in it.of_kind("HorizontalPodAutoscaler").chain(it.of_kind("ScaledObject")) {
        references.push(("Deployment", scaler.at("/spec/scaleTargetRef/name")));
        for trigger in list(scaler.value(), "/spec/triggers") {
            references.push(("TriggerAuthentication", &trigger["authenticationRef"]["name"]));
        }
    }
    for set in it.of_kind("StatefulSet") {
        references.push(("Service", set.at("/spec/serviceName")));
    }
    assert!(references.len() > 8, "{references:?}");
    for (kind, name) in references {
        let name = name.as_str().expect("a name");
        assert!(it.named(kind, name).is_some(), "{kind} {name}");
    }
}

/// Rules and dashboards select metrics by the job, which is the name of the Service by default.
#[test]
#[ignore = "needs kubectl or kustomize"]
fn jobs_of_prometheus_have_no_prefix() {
    let it = prefixed();
    let label = "app.kubernetes.io/name";
    for monitor in it.of_kind("ServiceMonitor") {
        assert_eq!(text(monitor.value(), "/spec/jobLabel"), label, "{}", monitor.name());
    }
    for service in ["auth", "api", "worker"] {
        let service = it.of_kind("Service").find(|object| object.app() == service);
        assert!(service.is_some_and(|service| service.name().starts_with(PREFIX)));
    }
}

/// Certificates and addresses across namespaces contain the namespace.
#[test]
#[ignore = "needs kubectl or kustomize"]
fn addresses_follow_the_namespace() {
    let scratch = tempfile::tempdir().expect("a directory");
    let sources = ["kustomize", "observability"].map(|it| root().join(it));
    let copied = Command::new("cp").arg("-R").args(sources).arg(scratch.path()).status();
    assert!(copied.is_ok_and(|status| status.success()));
    let overlay = scratch.path().join("kustomize/overlays/prod");
    let file = overlay.join("kustomization.yaml");
    let text = fs::read_to_string(&file).expect("a file");
    let moved = text.replace("\nnamespace: miniapp\n", "\nnamespace: other\n");
    assert_ne!(text, moved);
    fs::write(file, moved).expect("written");
    let text = render(&overlay);
    assert!(text.contains(".other.svc") && !text.contains(".miniapp.svc"), "{text}");
}

/// The host of an URL.
fn host(url: &str) -> &str {
    let (_, rest) = url.split_once("://").expect("a URL");
    rest.split([':', '/']).next().unwrap_or_default()
}

fn decode(value: &Value) -> String {
    // Kustomize breaks long lines.
    let text: String = value.as_str().expect("a text").split_whitespace().collect();
    let bytes = BASE64_STANDARD.decode(text).expect("base64");
    String::from_utf8(bytes).expect("UTF-8")
}
