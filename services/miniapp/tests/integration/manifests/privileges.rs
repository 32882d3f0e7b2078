//! Each service has its own role of the database and its own user of the broker.

use serde_json::{Value, json};

use crate::manifests::object::{list, text};
use crate::manifests::rendered::{Rendered, all, overlays, production};

/// The workloads, with the role and the user that they log in as.
const LOGINS: [(&str, &str, Option<&str>); 4] = [
    ("auth", "postgres-auth", Some("rabbitmq-auth")),
    ("api", "postgres-tasks", Some("rabbitmq-api")),
    ("worker", "postgres-tasks", Some("rabbitmq-worker")),
    ("migrate", "postgres-migrate", None),
];

/// A kind of definition and the custom resource for it.
const KINDS: [(&str, &str); 4] = [
    ("exchanges", "Exchange"),
    ("queues", "Queue"),
    ("bindings", "Binding"),
    ("permissions", "Permission"),
];

#[test]
#[ignore = "needs kubectl or kustomize"]
fn services_use_separate_logins() {
    for it in all() {
        for (app, role, user) in LOGINS {
            let mut pods = it.pods().filter(|pod| pod.owner.app() == app && pod.is_ours());
            let pod = pods.next().unwrap_or_else(|| panic!("{}: no {app}", it.name));
            let volumes = list(pod.spec(), "/volumes").iter();
            let mut secrets: Vec<&str> = volumes
                .flat_map(|volume| list(volume, "/projected/sources"))
                .map(|source| text(source, "/secret/name"))
                .filter(|name| {
                    let has = |part: &str| name.starts_with(part);
                    (has("postgres-") && !has("postgres-ca"))
                        || (has("rabbitmq-") && !has("rabbitmq-tls"))
                })
                .collect();
            secrets.sort_unstable();
            let expected: Vec<&str> = [Some(role), user].into_iter().flatten().collect();
            assert_eq!(secrets.len(), expected.len(), "{}: {app}: {secrets:?}", it.name);
            for (name, expected) in secrets.iter().zip(expected) {
                // The name of a generated Secret ends with a hash.
                assert!(name.starts_with(expected), "{}: {app}: {name}", it.name);
            }
        }
    }
}

/// The definitions of the broker for development.
fn definitions() -> Value {
    let development = overlays().find(|it| it.name == "overlays/dev").expect("an overlay");
    let mut configs = development.of_kind("ConfigMap");
    let config =
        configs.find(|config| config.name().starts_with("rabbitmq-")).expect("a ConfigMap");
    serde_json::from_str(text(config.value(), "/data/definitions.json")).expect("JSON")
}

/// The custom resources of a kind, in the form of definitions.
fn resources(it: &Rendered, kind: &str) -> Vec<Value> {
    let specs = it.of_kind(kind).map(|object| object.at("/spec"));
    let read = |spec: &Value| match kind {
        "Exchange" => json!([spec["name"], spec["type"], spec["durable"]]),
        "Queue" => {
            let mut arguments = spec["arguments"].clone();
            arguments["x-queue-type"] = spec["type"].clone();
            json!([spec["name"], spec["durable"], arguments])
        }
        "Binding" => {
            let key = spec.get("routingKey").cloned().unwrap_or_else(|| json!(""));
            json!([spec["source"], spec["destination"], spec["destinationType"], key])
        }
        _ => {
            let user = text(spec, "/userReference/name").trim_start_matches("user-");
            let rights = &spec["permissions"];
            json!([user, spec["vhost"], rights["configure"], rights["write"], rights["read"]])
        }
    };
    sorted(specs.map(read).filter(|it| it[0] != "keda").collect())
}

fn sorted(mut all: Vec<Value>) -> Vec<Value> {
    all.sort_by_key(Value::to_string);
    all
}

#[test]
#[ignore = "needs kubectl or kustomize"]
fn production_and_development_have_the_same_broker() {
    let definitions = definitions();
    for (section, kind) in KINDS {
        let fields: &[&str] = match kind {
            "Exchange" => &["name", "type", "durable"],
            "Queue" => &["name", "durable", "arguments"],
            "Binding" => &["source", "destination", "destination_type", "routing_key"],
            _ => &["user", "vhost", "configure", "write", "read"],
        };
        let entries = definitions[section].as_array().expect("a list").iter();
        let read = |entry: &Value| fields.iter().map(|field| entry[*field].clone()).collect();
        assert_eq!(resources(production(), kind), sorted(entries.map(read).collect()), "{kind}");
    }
}

#[test]
#[ignore = "needs kubectl or kustomize"]
fn only_migrate_owns_the_production_database() {
    let cluster = production().named("Cluster", "postgres").expect("a database");
    assert_eq!(cluster.at("/spec/bootstrap/initdb/owner"), &json!("migrate"));
    let roles = list(cluster.value(), "/spec/managed/roles");
    let names: Vec<&str> = roles.iter().map(|role| text(role, "/name")).collect();
    assert_eq!(names, ["auth", "tasks"]);
    for role in roles {
        for right in ["superuser", "createdb", "createrole", "replication", "bypassrls"] {
            assert!(role[right].is_null(), "{role}");
        }
        assert!(role["inRoles"].is_null(), "{role}");
    }
    let script = text(
        cluster.value(),
        "/spec/bootstrap/initdb/postInitApplicationSQLRefs/configMapRefs/0/name",
    );
    assert!(production().named("ConfigMap", script).is_some(), "{script}");
}
