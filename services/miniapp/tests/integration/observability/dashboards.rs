//! Dashboards match Grafana's schema, and every panel shows data.

use std::collections::BTreeSet;
use std::fs;

use miniapp_test_support::eventually;
use serde_json::Value;

use crate::observability::load::Load;
use crate::observability::programs::folder;
use crate::observability::prometheus::Prometheus;

fn dashboards() -> Vec<(String, Value)> {
    let files = fs::read_dir(folder().join("grafana/dashboards")).expect("a folder");
    let read = |file: fs::DirEntry| {
        let text = fs::read_to_string(file.path()).expect("a file");
        let name = file.file_name().to_string_lossy().into_owned();
        (name, serde_json::from_str(&text).expect("JSON"))
    };
    files.map(|file| read(file.expect("a file"))).collect()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// The queries of a dashboard with their variables replaced, and the titles of their panels.
fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let variables = list(&dashboard["templating"]["list"]);
    let variables = variables.filter(|variable| variable["type"] == "query");
    let names: Vec<&str> = variables.filter_map(|variable| variable["name"].as_str()).collect();
    let mut queries = Vec::new();
    for panel in list(&dashboard["panels"]) {
        let title = panel["title"].as_str().unwrap_or_default();
        for target in list(&panel["targets"]) {
            let mut query = target["expr"].as_str().expect("a query").to_owned();
            query = query.replace("$__rate_interval", "10s");
            for name in &names {
                query = query.replace(&format!("${name}"), ".*");
            }
            assert!(!query.contains('$'), "{title}: {query}");
            queries.push((title.to_owned(), query));
        }
    }
    queries
}

#[test]
fn dashboards_match_grafana_schema() {
    let mut uids = BTreeSet::new();
    for (file, dashboard) in dashboards() {
        assert_eq!(dashboard["schemaVersion"], 39, "{file}");
        assert!(uids.insert(dashboard["uid"].as_str().expect("a uid").to_owned()), "{file}");
        let variables: Vec<&Value> = list(&dashboard["templating"]["list"]).collect();
        let of_source = |one: &&&Value| one["name"] == "datasource" && one["type"] == "datasource";
        assert_eq!(variables.iter().filter(of_source).count(), 1, "{file}");
        let mut ids = BTreeSet::new();
        let mut taken = BTreeSet::new();
        for panel in list(&dashboard["panels"]) {
            let title = panel["title"].as_str().expect("a title");
            assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{file}: {title}");
            let place = |side: &str| panel["gridPos"][side].as_u64().expect("a place");
            assert!(place("x") + place("w") <= 24, "{file}: {title}");
            for (x, y) in (place("x")..place("x") + place("w"))
                .flat_map(|x| (place("y")..place("y") + place("h")).map(move |y| (x, y)))
            {
                assert!(taken.insert((x, y)), "{file}: {title} lies over another panel");
            }
            if panel["type"] == "row" {
                continue;
            }
            let known = ["timeseries", "stat", "heatmap", "table"];
            let kind = panel["type"].as_str().expect("a type");
            assert!(known.contains(&kind), "{file}: {title}");
            let mut references = BTreeSet::new();
            assert!(list(&panel["targets"]).count() > 0, "{file}: {title}");
            for query in list(&panel["targets"]).chain([panel]) {
                assert_eq!(query["datasource"]["uid"], "${datasource}", "{file}: {title}");
            }
            for target in list(&panel["targets"]) {
                assert!(references.insert(target["refId"].as_str()), "{file}: {title}");
            }
        }
    }
    assert_eq!(uids.len(), 3, "{uids:?}");
}

#[tokio::test]
#[ignore = "needs Prometheus"]
async fn panels_show_data_of_a_running_platform() {
    // Exports fail, because dashboards show the failures, too.
    let load = Load::start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")]).await;
    let prometheus = Prometheus::scraping(&load.targets()).await;
    tokio::select! {
        never = load.go_on() => never,
        () = look(&prometheus) => {}
    }
}

async fn look(prometheus: &Prometheus) {
    for (file, dashboard) in dashboards() {
        for (title, query) in queries(&dashboard) {
            eventually(&format!("{file}: {title} shows something: {query}"), async || {
                let samples = prometheus.query(&query).await;
                (!samples.is_empty()).then_some(())
            })
            .await;
        }
        for variable in list(&dashboard["templating"]["list"]) {
            let Some(query) = variable["query"]["query"].as_str() else { continue };
            let inner = query.trim_start_matches("label_values(").trim_end_matches(')');
            let (metric, label) = inner.split_once(", ").expect("a metric and a label");
            let path = format!("label/{label}/values");
            let values = prometheus.ask(&path, &[("match[]", metric)]).await;
            assert!(list(&values).count() > 0, "{file}: {query}");
        }
    }
    // Recording rules and alerts are evaluated, too.
    eventually("all rules have been evaluated", async || {
        let groups = prometheus.ask("rules", &[]).await;
        let rules: Vec<&Value> =
            list(&groups["groups"]).flat_map(|one| list(&one["rules"])).collect();
        for rule in &rules {
            assert_ne!(rule["health"], "err", "{rule}");
        }
        rules.iter().all(|rule| rule["health"] == "ok").then_some(())
    })
    .await;
    let exemplars = eventually("there are exemplars", async || {
        let query = "{__name__=~\"(http_server_request|miniapp_task).*_bucket\"}";
        let range = [("query", query), ("start", "0"), ("end", "9999999999")];
        let found = prometheus.ask("query_exemplars", &range).await;
        let found: Vec<Value> = list(&found).cloned().collect();
        let of_tasks = |one: &Value| {
            let name = one["seriesLabels"]["__name__"].as_str().unwrap_or_default();
            name.starts_with("miniapp_task_execution")
        };
        found.iter().any(of_tasks).then_some(found)
    })
    .await;
    let examples = exemplars.iter().flat_map(|series| list(&series["exemplars"]));
    for example in examples {
        let trace = example["labels"]["trace_id"].as_str().expect("a trace");
        assert!(trace.len() == 32 && trace.bytes().all(|b| b.is_ascii_hexdigit()), "{example}");
    }
}
