//! Rules and alerts, checked by promtool.

use std::collections::BTreeSet;
use std::fs;

use crate::observability::programs::{folder, prometheus};

fn text(path: &str) -> String {
    fs::read_to_string(folder().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The values of `key:` in a file.
fn values<'t>(text: &'t str, key: &str) -> impl Iterator<Item = &'t str> {
    let key = format!("{key}: ");
    text.lines().filter_map(move |line| {
        line.trim_start().trim_start_matches("- ").strip_prefix(&key).map(str::trim)
    })
}

#[test]
#[ignore = "needs Prometheus"]
fn prometheus_accepts_configuration_and_rules() {
    let promtool = prometheus("promtool");
    promtool.expect_success(&["check", "config", "prometheus/prometheus.yml"]);
    promtool.expect_success(&["check", "rules", "prometheus/rules.yml", "prometheus/alerts.yml"]);
    promtool.expect_success(&["test", "rules", "prometheus/alerts_test.yml"]);
}

#[test]
fn alerts_have_tests_and_runbooks() {
    let (alerts, tests, runbook) = (
        text("prometheus/alerts.yml"),
        text("prometheus/alerts_test.yml"),
        text("../docs/operations/runbook.md"),
    );
    let alerts: BTreeSet<&str> = values(&alerts, "alert").collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    // A case expects the alert, or expects that it does not fire.
    let cases: Vec<&str> = tests.split("- eval_time:").skip(1).collect();
    for alert in &alerts {
        let of_it = cases.iter().filter(|case| values(case, "alertname").any(|one| one == *alert));
        let (fires, stays): (Vec<&&str>, Vec<&&str>) =
            of_it.partition(|case| case.contains("exp_alerts"));
        assert!(!fires.is_empty() && !stays.is_empty(), "{alert} isn't tested both ways");
        assert!(runbook.contains(&format!("### {alert}\n")), "{alert} has no runbook");
    }
    let anchors: BTreeSet<String> = alerts.iter().map(|alert| alert.to_lowercase()).collect();
    let alerts = text("prometheus/alerts.yml");
    let linked = values(&alerts, "runbook").map(|link| {
        let (file, anchor) = link.trim_matches('"').split_once('#').expect("an anchor");
        assert_eq!(file, "docs/operations/runbook.md");
        anchor.to_owned()
    });
    assert_eq!(linked.collect::<BTreeSet<_>>(), anchors);
}
