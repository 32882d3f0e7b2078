//! References between objects: names, ports, selectors.

use serde_json::Value;

use crate::manifests::object::{Object, Pod, list, map, selects, text};
use crate::manifests::rendered::{Rendered, all, overlays, production};

/// Secrets that operators, cert-manager and administrators create.
const GIVEN: [&str; 12] = [
    "postgres-migrate",
    "postgres-auth",
    "postgres-tasks",
    "postgres-ca",
    "rabbitmq-auth",
    "rabbitmq-api",
    "rabbitmq-worker",
    "user-keda-user-credentials",
    "rabbitmq-tls",
    "miniapp-tls",
    "miniapp-auth",
    "miniapp-mail",
];

#[test]
#[ignore = "needs kubectl or kustomize"]
fn services_target_existing_ports() {
    for it in all() {
        for service in it.of_kind("Service") {
            let place = format!("{}: {}", it.name, service.name());
            let pods = by_labels(it, service.at("/spec/selector"));
            assert_eq!(pods.len(), 1, "{place}");
            for port in list(service.value(), "/spec/ports") {
                let target = text(port, "/targetPort");
                let number = pods[0].port(target);
                assert_eq!(number, port["port"].as_u64(), "{place} by {target}");
            }
        }
    }
}

#[test]
#[ignore = "needs kubectl or kustomize"]
fn probes_use_existing_ports() {
    for it in all() {
        for pod in it.pods() {
            for container in pod.containers() {
                for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
                    let ports = ["httpGet", "tcpSocket"].map(|how| &container[probe][how]["port"]);
                    for name in ports.into_iter().filter_map(Value::as_str) {
                        assert!(pod.port(name).is_some(), "{}: {probe} of {name}", it.name);
                    }
                }
            }
        }
    }
}

#[test]
#[ignore = "needs kubectl or kustomize"]
fn routes_and_ingresses_target_services() {
    for it in all() {
        let mut ways = Vec::new();
        for route in it.of_kind("HTTPRoute") {
            let rules = list(route.value(), "/spec/rules");
            let backends = rules.iter().flat_map(|rule| list(rule, "/backendRefs"));
            ways.extend(backends.map(|to| (text(to, "/name"), &to["port"])));
            let gateway = text(route.value(), "/spec/parentRefs/0/name");
            let gateway = it.named("Gateway", gateway).expect("a gateway");
            let section = text(route.value(), "/spec/parentRefs/0/sectionName");
            let mut listeners = list(gateway.value(), "/spec/listeners").iter();
            assert!(listeners.any(|listener| text(listener, "/name") == section), "{section}");
        }
        for ingress in it.of_kind("Ingress") {
            let rules = list(ingress.value(), "/spec/rules");
            let paths = rules.iter().flat_map(|rule| list(rule, "/http/paths"));
            let backends = paths.map(|path| &path["backend"]["service"]);
            ways.extend(backends.map(|to| (text(to, "/name"), &to["port"]["name"])));
        }
        for (name, port) in ways {
            let service = it.named("Service", name).unwrap_or_else(|| panic!("no {name}"));
            let has = |it: &&Value| it["port"] == *port || it["name"] == *port;
            let found = list(service.value(), "/spec/ports").iter().find(has);
            assert_eq!(found.map(|port| text(port, "/name")), Some("http"), "{name}");
        }
    }
}

/// Named ports in policies are those of the selected pods.
#[test]
#[ignore = "needs kubectl or kustomize"]
fn network_policies_name_existing_ports() {
    let it = production();
    let mut seen = 0;
    for policy in it.of_kind("NetworkPolicy") {
        let place = policy.name();
        let selected = it.selected(policy.at("/spec/podSelector"));
        for rule in list(policy.value(), "/spec/ingress") {
            seen += check_ports(rule, &selected, place);
        }
        for rule in list(policy.value(), "/spec/egress") {
            let called: Vec<Pod<'_>> = list(rule, "/to")
                .iter()
                .filter_map(|peer| peer.get("podSelector"))
                .flat_map(|selector| it.selected(selector))
                .collect();
            seen += check_ports(rule, &called, place);
        }
    }
    assert!(seen > 5, "{seen} ports have names");
}

/// Returns the number of named ports in `rule`. Panics if none of `pods` has such a port.
fn check_ports(rule: &Value, pods: &[Pod<'_>], place: &str) -> usize {
    let names: Vec<&str> =
        list(rule, "/ports").iter().filter_map(|port| port["port"].as_str()).collect();
    for name in &names {
        let is_known = pods.is_empty() || pods.iter().any(|pod| pod.port(name).is_some());
        assert!(is_known, "{place}: {name}");
    }
    names.len()
}

#[test]
#[ignore = "needs kubectl or kustomize"]
fn network_policies_deny_by_default() {
    for it in all() {
        let mut policies = it.of_kind("NetworkPolicy").peekable();
        if policies.peek().is_none() {
            continue;
        }
        let denies = |policy: &Object| {
            policy.at("/spec/podSelector").as_object().is_some_and(serde_json::Map::is_empty)
                && list(policy.value(), "/spec/policyTypes").len() == 2
                && policy.at("/spec/ingress").is_null()
                && policy.at("/spec/egress").is_null()
        };
        assert!(policies.any(denies), "{}", it.name);
    }
}

#[test]
#[ignore = "needs kubectl or kustomize"]
fn service_monitors_match_service_ports() {
    for it in overlays() {
        for monitor in it.of_kind("ServiceMonitor") {
            let selector = monitor.at("/spec/selector");
            let services = it.of_kind("Service");
            let services: Vec<&Object> =
                services.filter(|service| selects(selector, service.labels())).collect();
            assert!(!services.is_empty(), "{} finds nothing", monitor.name());
            for endpoint in list(monitor.value(), "/spec/endpoints") {
                for service in &services {
                    let mut ports = list(service.value(), "/spec/ports").iter();
                    let is_there = ports.any(|port| port["name"] == endpoint["port"]);
                    assert!(is_there, "{} at {}", endpoint["port"], service.name());
                }
            }
        }
    }
}

#[test]
#[ignore = "needs kubectl or kustomize"]
fn pods_reference_existing_objects() {
    for it in overlays() {
        for pod in it.pods() {
            let place = format!("{}: {}", it.name, pod.owner.name());
            for (kind, name) in mentioned(pod) {
                let is_given = it.name == "overlays/prod" && GIVEN.contains(&name);
                let is_there = it.named(kind, name).is_some();
                assert!(is_there != (kind == "Secret" && is_given), "{place}: {kind} {name}");
            }
        }
    }
}

/// Kinds and names of the objects that a pod takes files and variables from.
fn mentioned(pod: Pod<'_>) -> Vec<(&'static str, &str)> {
    let mut found = Vec::new();
    for volume in list(pod.spec(), "/volumes") {
        found.push(("ConfigMap", text(volume, "/configMap/name")));
        found.push(("PersistentVolumeClaim", text(volume, "/persistentVolumeClaim/claimName")));
        let sources = list(volume, "/projected/sources").iter();
        found.extend(sources.map(|source| ("Secret", text(source, "/secret/name"))));
    }
    for container in pod.containers() {
        let sources = list(container, "/envFrom").iter();
        found.extend(sources.map(|source| ("ConfigMap", text(source, "/configMapRef/name"))));
        let secrets = list(container, "/env").iter();
        found.extend(
            secrets.map(|variable| ("Secret", text(variable, "/valueFrom/secretKeyRef/name"))),
        );
    }
    found.retain(|(_, name)| !name.is_empty());
    found
}

/// The pods that the plain labels of a Service select.
fn by_labels<'r>(it: &'r Rendered, selector: &Value) -> Vec<Pod<'r>> {
    let selector = map(selector, "").expect("labels");
    it.pods()
        .filter(|pod| selector.iter().all(|(key, value)| pod.labels().get(key) == Some(value)))
        .collect()
}
