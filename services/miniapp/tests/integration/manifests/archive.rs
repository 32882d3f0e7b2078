//! Archiving of PostgreSQL's write-ahead log, and base backups.

use serde_json::json;

use crate::manifests::object::{Object, list, map, selects, text};
use crate::manifests::read;
use crate::manifests::rendered::{Rendered, production, rendered};

const PLUGIN: &str = "barman-cloud.cloudnative-pg.io";

/// The cluster with the archive, with and without the pooler, which changes it, too.
fn archived() -> [Rendered; 2] {
    let with = |more: &[&str]| {
        let components = [&["components/cloudnative-pg", "components/wal-archive"], more].concat();
        rendered(json!({"resources": ["base"], "components": components}))
    };
    [with(&[]), with(&["components/pooler", "components/network-policies"])]
}

fn check(it: &Rendered) {
    let cluster = it.named("Cluster", "postgres").expect("a cluster");
    let plugins = list(cluster.value(), "/spec/plugins");
    assert_eq!(plugins.len(), 1, "{plugins:?}");
    assert_eq!(text(&plugins[0], "/name"), PLUGIN);
    assert_eq!(plugins[0]["isWALArchiver"], true);
    let store = text(&plugins[0], "/parameters/barmanObjectName");
    let store = it.named("ObjectStore", store).expect("the store");
    assert_eq!(text(store.value(), "/apiVersion"), "barmancloud.cnpg.io/v1");
    assert!(text(store.value(), "/spec/configuration/destinationPath").starts_with("s3://"));
    // The name of the server is a parameter of the plugin.
    assert!(store.at("/spec/configuration/serverName").is_null());
    // Deprecated, and two archivers would exclude each other.
    assert!(!it.text.contains("barmanObjectStore"));

    let backups: Vec<&Object> = it.of_kind("ScheduledBackup").collect();
    assert!(backups.iter().any(|backup| {
        text(backup.value(), "/spec/method") == "plugin"
            && text(backup.value(), "/spec/pluginConfiguration/name") == PLUGIN
            && backup.at("/spec/immediate") == true
    }));
    for backup in backups {
        assert_eq!(text(backup.value(), "/spec/cluster/name"), cluster.name());
        // Seconds first: five fields would be rejected.
        let schedule = text(backup.value(), "/spec/schedule");
        assert_eq!(schedule.split(' ').count(), 6, "{schedule}");
    }
}

#[test]
#[ignore = "needs kubectl or kustomize"]
fn write_ahead_log_is_archived() {
    for it in archived().iter().chain([production()]) {
        check(it);
    }
}

/// The documented patch of the production overlay recovers the database from this archive, for the
/// same clients, and does not write into the archive that it reads.
#[test]
#[ignore = "needs kubectl or kustomize"]
fn documented_restore_reads_the_archive() {
    let page = read("docs/operations/backup.md");
    let (_, example) = page.split_once("```yaml\n").expect("an example");
    let (example, _) = example.split_once("```").expect("its end");
    let example = Object::read_all(example);
    let it = rendered(json!({
        "resources": ["overlays/prod"],
        "patches": example[0].at("/patches"),
    }));
    check(&it);
    let before = production().named("Cluster", "postgres").expect("a cluster");
    let cluster = it.named("Cluster", "postgres").expect("the same name");
    let methods = map(cluster.value(), "/spec/bootstrap").expect("a bootstrap");
    assert_eq!(methods.keys().collect::<Vec<_>>(), ["recovery"]);
    let recovery = &methods["recovery"];
    for setting in ["database", "owner", "secret"] {
        assert_eq!(recovery[setting], before.at("/spec/bootstrap/initdb")[setting], "{setting}");
    }

    let archive = &list(cluster.value(), "/spec/externalClusters")[0];
    assert_eq!(archive["name"], recovery["source"]);
    assert_eq!(text(archive, "/plugin/name"), PLUGIN);
    let source = &archive["plugin"]["parameters"];
    assert!(it.named("ObjectStore", text(source, "/barmanObjectName")).is_some());
    // The folder in the archive is the name of the cluster by default.
    assert_eq!(text(source, "/serverName"), before.name());
    let target = cluster.at("/spec/plugins/0/parameters");
    assert_eq!(target["barmanObjectName"], source["barmanObjectName"]);
    assert!(target["serverName"].is_string() && target["serverName"] != source["serverName"]);

    // Nothing else differs.
    let kept = |cluster: &Object| {
        let mut spec = map(cluster.value(), "/spec").expect("a specification").clone();
        for changed in ["bootstrap", "externalClusters", "plugins"] {
            spec.remove(changed);
        }
        spec
    };
    assert_eq!(kept(cluster), kept(before));
}

/// The plugin runs beside PostgreSQL, in its pods.
#[test]
#[ignore = "needs kubectl or kustomize"]
fn network_policies_allow_archiving() {
    let labels = json!({"cnpg.io/cluster": "postgres"});
    for it in archived().iter().skip(1).chain([production()]) {
        let of_database = it.of_kind("NetworkPolicy").filter(|policy| {
            let selector = policy.at("/spec/podSelector");
            selector["matchLabels"].is_object() && selects(selector, &labels)
        });
        let mut rules = of_database.flat_map(|policy| list(policy.value(), "/spec/egress"));
        let allows = rules.any(|rule| {
            rule.get("to").is_none() && list(rule, "/ports").iter().any(|it| it["port"] == 443)
        });
        assert!(allows, "{}", it.name);
    }
}
