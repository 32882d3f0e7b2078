//! Probes, disruption budgets, rollouts and graceful shutdown.

use std::time::Duration;

use miniapp_broker::Queue;
use miniapp_config::Config;
use miniapp_http::ServerOptions;
use miniapp_worker::WorkerConfig;
use serde_json::{Value, json};

use crate::manifests::object::{Object, Pod, list, selects, text};
use crate::manifests::rendered::{Rendered, all, overlays, production};

const PROBES: [&str; 3] = ["startupProbe", "readinessProbe", "livenessProbe"];

#[test]
#[ignore = "needs kubectl or kustomize"]
fn deployments_have_probes_and_resources() {
    for it in all() {
        for pod in it.pods() {
            let place = format!("{}: {} {}", it.name, pod.owner.kind(), pod.owner.name());
            for container in pod.containers() {
                let amount = |pointer: &str| bytes(text(&container["resources"], pointer));
                assert!(!text(&container["resources"], "/requests/cpu").is_empty(), "{place}");
                let (requested, most) = (amount("/requests/memory"), amount("/limits/memory"));
                assert!(requested > 0 && requested <= most, "{place}: {requested} to {most}");
                let probes = PROBES.iter().filter(|probe| container.get(**probe).is_some());
                assert_eq!(probes.count(), if pod.is_lasting() { 3 } else { 0 }, "{place}");
            }
        }
    }
}

/// Only readiness covers dependencies: a restart of the process would not repair them.
#[test]
#[ignore = "needs kubectl or kustomize"]
fn probes_use_matching_endpoints() {
    for it in all() {
        for pod in it.pods().filter(|pod| pod.is_ours() && pod.is_lasting()) {
            for container in pod.containers() {
                for (probe, path) in PROBES.iter().zip(["/livez", "/readyz", "/livez"]) {
                    let expected = json!({"path": path, "port": "admin"});
                    assert_eq!(container[*probe]["httpGet"], expected, "{}: {probe}", it.name);
                }
                // Health checks have a timeout of two seconds.
                assert!(container["readinessProbe"]["timeoutSeconds"].as_u64() > Some(2));
            }
        }
    }
}

#[test]
#[ignore = "needs kubectl or kustomize"]
fn drain_ends_within_grace_period() {
    let drain = ServerOptions::default().drain;
    for it in all() {
        for pod in it.pods().filter(|pod| pod.is_ours() && pod.is_lasting()) {
            let place = format!("{}: {}", it.name, pod.owner.name());
            let container = &pod.spec()["containers"][0];
            let grace = pod.spec()["terminationGracePeriodSeconds"].as_u64().expect(&place);
            let grace = Duration::from_secs(grace);
            let sleep = container["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64();
            if pod.port("http").is_some() {
                let sleep = Duration::from_secs(sleep.expect("time to leave the endpoints"));
                assert!(grace > sleep + drain, "{place}");
            } else {
                let config = crate::manifests::settings::config_of(it, pod);
                let worker: WorkerConfig = crate::manifests::settings::section(&config);
                // Releasing tasks takes up to five seconds, then telemetry is flushed.
                assert!(grace >= worker.grace + Duration::from_secs(10), "{place}");
            }
        }
    }
}

#[test]
#[ignore = "needs kubectl or kustomize"]
fn disruption_budgets_allow_draining_a_node() {
    for it in overlays() {
        for budget in it.of_kind("PodDisruptionBudget") {
            let place = format!("{}: {}", it.name, budget.name());
            let gone = budget.at("/spec/maxUnavailable").as_u64().expect(&place);
            assert!(gone > 0, "{place} lets no node be drained");
            let pods = it.selected(budget.at("/spec/selector"));
            let replicas = match &pods[..] {
                [pod] => replicas(it, *pod),
                // Objects of operators contain the number of replicas.
                [] => it
                    .named("RabbitmqCluster", budget.name())
                    .expect(&place)
                    .at("/spec/replicas")
                    .as_u64()
                    .expect(&place),
                _ => panic!("{place} is for more than one workload"),
            };
            assert!(replicas > gone || it.name == "overlays/dev", "{place} leaves nothing");
        }
        for pod in it.pods().filter(|pod| pod.is_ours() && pod.is_lasting()) {
            let mut budgets = it.of_kind("PodDisruptionBudget");
            let is_covered =
                budgets.any(|budget| selects(budget.at("/spec/selector"), pod.labels()));
            assert!(is_covered, "{}: {} has no budget", it.name, pod.owner.name());
            assert_eq!(
                pod.owner.at("/spec/strategy/rollingUpdate/maxUnavailable"),
                &json!(0),
                "{}: {}",
                it.name,
                pod.owner.name()
            );
            assert_eq!(list(pod.spec(), "/topologySpreadConstraints").len(), 2, "{}", it.name);
        }
    }
}

#[test]
#[ignore = "needs kubectl or kustomize"]
fn production_has_three_replicas() {
    let production = production();
    for pod in production.pods().filter(|pod| pod.is_ours() && pod.is_lasting()) {
        assert!(replicas(production, pod) >= 3, "{}", pod.owner.name());
    }
}

/// The minimum number of replicas, which only one object may set.
fn replicas(it: &Rendered, pod: Pod<'_>) -> u64 {
    let name = pod.owner.name();
    let is_its = |object: &&Object| text(object.value(), "/spec/scaleTargetRef/name") == name;
    let scaled = [
        ("HorizontalPodAutoscaler", "/spec/minReplicas"),
        ("ScaledObject", "/spec/minReplicaCount"),
    ];
    let least: Vec<&Value> = scaled
        .iter()
        .flat_map(|(kind, least)| it.of_kind(kind).filter(is_its).map(move |it| it.at(least)))
        .collect();
    let own = pod.owner.at("/spec/replicas");
    match (&least[..], own) {
        ([least], Value::Null) => least.as_u64().expect(name),
        ([], own) => own.as_u64().expect(name),
        _ => panic!("{}: several decide how many there are of {name}", it.name),
    }
}

/// KEDA scales by the length of the existing queue, relative to the concurrency of a worker.
#[test]
#[ignore = "needs kubectl or kustomize"]
fn workers_scale_by_queue_length() {
    let config = Config::defaults_in(std::path::Path::new("/tmp")).expect("the defaults");
    let worker: WorkerConfig = crate::manifests::settings::section(&config);
    for it in all() {
        for object in it.of_kind("ScaledObject") {
            let queue = object.at("/spec/triggers/0/metadata");
            assert_eq!(text(queue, "/queueName"), Queue::Tasks.name());
            assert_eq!(text(queue, "/value"), worker.concurrency.to_string());
        }
    }
}

fn bytes(quantity: &str) -> u64 {
    let units = [("Ki", 1 << 10), ("Mi", 1 << 20), ("Gi", 1 << 30)];
    let unit = units.iter().find_map(|(unit, bytes)| Some((quantity.strip_suffix(unit)?, bytes)));
    unit.and_then(|(number, bytes)| Some(number.parse::<u64>().ok()? * bytes)).unwrap_or_default()
}
